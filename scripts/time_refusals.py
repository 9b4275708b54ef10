"""Time how long a machine that cannot run an artifact waits for its refusal.

usage: python scripts/time_refusals.py [--most-ms 100]

Each machine of tests/support/wrong_machines.py, then the drivers of this very machine, asked in a
process of their own for each kind of GPU. From the call until the error; Python has started and
its modules are loaded, TVM too. Exit status 1 if one takes longer.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support")]

REPETITIONS = 5
# TVM is loaded before: `ferry` loads it for whatever it does with a model.
PROBE = """
import sys, time, tvm
from ferrylm.runtime import hip_backend, vulkan_backend
from ferrylm.runtime.backends import probe_kind
start = time.perf_counter()
found = probe_kind(sys.argv[1])
passed_ms = 1000 * (time.perf_counter() - start)
print(passed_ms, len(found.devices), found.problem, sep="|")
"""


def refusal_ms(cell: object, artifact: Path) -> float:
    """Return the milliseconds from opening an artifact to its refusal, the median of some."""
    from wrong_machines import WrongMachine, pretending

    from ferrylm.errors import FerryError
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.engine import open_engine

    assert isinstance(cell, WrongMachine)
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        try:
            with pretending(cell.machine), Artifact.open(artifact) as opened:
                open_engine(opened, device=cell.device)
        except FerryError:
            times.append(1000 * (time.perf_counter() - start))
        else:
            raise SystemExit(f"{cell.name}: not refused")
    return statistics.median(times)


def probe_ms(kind: str) -> tuple[float, str]:
    """Return how long this machine's drivers of a kind take to answer, and what they answer."""
    command = [sys.executable, "-c", PROBE, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    passed, devices, problem = done.stdout.strip().splitlines()[-1].split("|", 2)
    return float(passed), f"{devices} devices" if devices != "0" else problem


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--most-ms", type=float, default=100)
    most_ms = parser.parse_args().most_ms
    from wrong_machines import WRONG_MACHINES, write_artifact

    slow = 0
    with tempfile.TemporaryDirectory(prefix="ferrylm-") as folder:
        artifact = Path(folder) / "artifact"
        write_artifact(artifact)
        for cell in WRONG_MACHINES:
            passed_ms = refusal_ms(cell, artifact)
            slow += passed_ms > most_ms
            print(f"{passed_ms:8.1f} ms  {cell.name}")
    for kind in ("cuda", "rocm", "vulkan"):
        passed_ms, answer = probe_ms(kind)
        print(f"{passed_ms:8.1f} ms  this machine, {kind}: {answer}")
    print(f"{len(WRONG_MACHINES)} refusals, {slow} slower than {most_ms:g} ms")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
