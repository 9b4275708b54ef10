"""Check on an NVIDIA machine what can only be proved there; print a table.

usage: python scripts/check_cuda.py build FOLDER [--cuda-arch LIST]   anywhere, no GPU
       python scripts/check_cuda.py run FOLDER                        on the NVIDIA machine

`build` needs ferrylm[compile,cuda]; `run` needs TVM's runtime, libcudart 13 and a driver, and never
a compiler. Every operation of compile/cuda/operations.py runs against numpy on the cases of
tests/compile/cuda; then a step of dependent launches is captured and replayed as one graph. Exit
status 1 says that something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

CASES, STEP, TABLE = "cases.so", "step.so", "cases.npz"
Array = np.ndarray


def build(folder: Path, architectures: list[str]) -> None:
    """Write the libraries, and inputs with their answers."""
    from cuda_steps import step_library

    from tests.compile.cuda.cuda_builds import build_library
    from tests.compile.cuda.memory_cases import MEMORY_CASES
    from tests.compile.cuda.operation_table import OPERATION_CASES

    folder.mkdir(parents=True, exist_ok=True)
    cases: tuple[Any, ...] = (*OPERATION_CASES, *MEMORY_CASES)
    library, _ = build_library([case.kernel() for case in cases], *architectures)
    (folder / CASES).write_bytes(library)
    (folder / STEP).write_bytes(step_library(*architectures))
    arrays: dict[str, Array] = {}
    for case in cases:
        inputs = case.arrays()
        for letter, array in zip("abc", inputs, strict=True):
            arrays[f"{case.symbol}.{letter}"] = array
        arrays[f"{case.symbol}.wanted"] = case.reference(*inputs)
        arrays[f"{case.symbol}.tolerance"] = np.array(case.tolerance)
    np.savez(folder / TABLE, **arrays)
    print(f"{len(cases)} kernels for {' '.join(architectures)} in {folder}")


class Report:
    """The table, and whether all of it is well."""

    def __init__(self) -> None:
        self.failures = 0

    def check(self, what: str, function: Callable[[], str]) -> None:
        """Print a line for one check; an exception is a failure, and the next check still runs."""
        try:
            print(f"ok    {what:44} {function()}", flush=True)
        except Exception as error:  # whatever a driver does, the table goes on
            self.failures += 1
            print(f"FAIL  {what:44} {type(error).__name__}: {error}", flush=True)
            traceback.print_exc(limit=3)


def run(folder: Path) -> int:
    """Run all checks; return the exit status."""
    os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")
    from ferrylm.runtime.cuda_backend import CudaBackend, probe

    report = Report()
    found = probe()
    print(f"driver and GPUs: {found.problem or ''}")
    for device in found.devices:
        print(f"  {device.index} {device.name} {device.architecture} driver {device.driver} "
              f"CUDA {device.api_version} {device.total_bytes / 2**30:.1f} GiB")  # fmt: skip
    print(f"nvcc on PATH: {shutil.which('nvcc') or 'no'}")
    if not found.devices:
        return 1
    backend = CudaBackend(found.devices[0])
    import tvm_ffi

    @tvm_ffi.register_global_func("tvm_callback_cuda_compile", override=True)
    def refuse(_source: str) -> bytes:
        raise RuntimeError("loading compiled something")

    with backend.calling():
        cases = tvm_ffi.load_module(str(folder / CASES))
        with np.load(folder / TABLE) as table:
            for symbol in sorted({name.partition(".")[0] for name in table.files}):
                arrays = {word: table[f"{symbol}.{word}"] for word in (*"abc", "wanted")}
                tolerance = float(table[f"{symbol}.tolerance"])
                report.check(symbol, lambda s=symbol, a=arrays, t=tolerance: compare(
                    backend, cases, s, a, t))  # fmt: skip
        check_graphs(report, backend, tvm_ffi.load_module(str(folder / STEP)))
    backend.close()
    print(f"{report.failures} failures")
    return 1 if report.failures else 0


def compare(
    backend: Any, library: Any, symbol: str, arrays: dict[str, Array], tolerance: float
) -> str:
    """Run one kernel and compare it with numpy."""
    inputs = [backend.upload(arrays[letter].reshape(-1)) for letter in "abc"]
    wanted = arrays["wanted"].reshape(-1)
    out = backend.upload(np.zeros_like(wanted))
    library.get_function(symbol, query_imports=True)(*inputs, out)
    backend.synchronize()
    got = backend.download(out)
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    if difference.max() > tolerance:
        first = int(np.argmax(difference > tolerance))
        raise AssertionError(f"element {first} is {got[first]}, wanted {wanted[first]}")
    return f"largest difference {difference.max():.3g}, allowed {tolerance:.3g}"


def check_graphs(report: Report, backend: Any, library: Any) -> None:
    """Capture a step of three launches, change its input, replay it, and time both ways."""
    machine = backend.load(library)
    x = backend.upload(np.arange(256, dtype=np.float32))
    step = backend.repeated(lambda: machine["main"](x))

    def replayed(factor: float) -> str:
        array = np.arange(256, dtype=np.float32) * factor
        backend.overwrite(x, array)
        got = backend.read_rows(step.run(), 256)
        if not np.array_equal(got, array * 8):
            raise AssertionError(f"got {got[:4]}, wanted {array[:4] * 8}")
        return "equal"

    def kept() -> str:
        others = [machine["main"](x) for _ in range(8)]
        text = replayed(3.0)
        return f"{text} after {len(others)} other steps"

    report.check("graph: captured and launched", lambda: replayed(1.0))
    report.check("graph: replayed with another input", lambda: replayed(2.0))
    report.check("graph: its memory is its own", kept)
    report.check("graph: microseconds a replay", lambda: timed(backend, step.run))
    report.check("calls: microseconds a step", lambda: timed(backend, lambda: machine["main"](x)))
    report.check("profile of a step", lambda: json.dumps(
        backend.profile(lambda: machine["main"](x))))  # fmt: skip


def timed(backend: Any, call: Callable[[], object], count: int = 1000) -> str:
    """Return the device's time of many calls, each."""
    runtime, stream = backend.runtime, backend.stream
    start, end = runtime.new_event(), runtime.new_event()
    call()
    runtime.record_event(start, stream)
    for _ in range(count):
        call()
    runtime.record_event(end, stream)
    return f"{1000 * runtime.milliseconds(start, end) / count:.2f}"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=("build", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cuda-arch", default="75,80,86,89,90a,100,120,compute_90")
    options = parser.parse_args()
    if options.action == "run":
        return run(options.folder)
    build(options.folder, options.cuda_arch.split(","))
    return 0


if __name__ == "__main__":
    sys.exit(main())
