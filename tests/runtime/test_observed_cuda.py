"""Steps that are watched on an NVIDIA GPU: what is asked of CUDA, in which order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_steps import step_library
from stand_in_driver import RUNTIME, build_stand_ins

PROGRAM = Path(__file__).parents[1] / "support" / "observed_cuda_program.py"
H100 = "device=9.0,85899345920,NVIDIA H100"
KERNELS = ["double", "double_early", "double"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], list[str]]:
    """Return the program's answer and the log of the stand-ins from the profile on."""
    folder = build_stand_ins(tmp_path_factory.mktemp("cuda"))
    (folder / "step.so").write_bytes(step_library("80"))
    log = folder / "log"
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(folder),
        "STAND_IN_CUDA": H100,
        "STAND_IN_CUDA_LOG": str(log),
        "TVM_USE_RUNTIME_LIB": "1",
    }
    done = subprocess.run(
        [sys.executable, PROGRAM, folder / RUNTIME, folder / "step.so", "observe"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = log.read_text().splitlines()
    return json.loads(done.stdout.splitlines()[-1]), lines[lines.index("profile") :]


def test_a_watched_step_names_its_kernels_and_their_times(
    observed: tuple[dict[str, list[str]], list[str]],
) -> None:
    answer, _ = observed
    assert [n for n in answer["names"] if not n.startswith("vm.builtin.")] == KERNELS
    assert [launch["kernel"] for launch in answer["kernels"]] == KERNELS  # type: ignore[index]
    assert [launch["milliseconds"] for launch in answer["kernels"]] == [0.5] * 3  # type: ignore[index]


def test_the_device_gets_copies_to_do_before_the_kernels_and_nobody_waits_between(
    observed: tuple[dict[str, list[str]], list[str]],
) -> None:
    _, log = observed
    ahead, done = log.index("run ahead"), log.index("profiled")
    made = [line.split(" grid")[0] for line in log[ahead + 1 : done]]
    copies, launches = made[:2], [line for line in made if line.startswith("launch")]
    assert all(line.startswith("copy 4096") for line in copies)
    assert launches == ["launch double_kernel", "launch double_early_kernel",
                        "launch double_kernel"]  # fmt: skip
    last = made.index(launches[-1])
    assert not [line for line in made[:last] if "sync" in line.lower()]
    assert "graph launch own" not in made


def test_after_it_the_step_is_replayed_again(
    observed: tuple[dict[str, list[str]], list[str]],
) -> None:
    _, log = observed
    after = log[log.index("profiled") :]
    assert [line for line in after if line.startswith(("launch", "graph launch"))] == [
        "graph launch own"
    ]
