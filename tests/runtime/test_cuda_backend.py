from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cuda_steps import step_library
from stand_in_driver import RUNTIME, build_stand_ins

from tests.compile.cuda.memory_cases import MEMORY_CASES
from tests.compile.cuda.operation_table import OPERATION_CASES

PROGRAM = Path(__file__).parents[1] / "support" / "cuda_program.py"
CHECKS = Path(__file__).parents[2] / "scripts" / "check_cuda.py"
H100 = "device=9.0,85899345920,NVIDIA H100"


@dataclass(frozen=True)
class Run:
    """What the program printed, and what the stand-ins were asked for."""

    answer: dict[str, Any]
    log: list[str]

    def lines(self, start: str) -> list[str]:
        """Return the lines of the log that begin so."""
        return [line for line in self.log if line.startswith(start)]


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of both libraries, with a compiled step beside them."""
    folder = build_stand_ins(tmp_path_factory.mktemp("cuda"))
    (folder / "step.so").write_bytes(step_library("80"))
    return folder


@pytest.fixture
def run(stand_ins: Path, tmp_path: Path) -> Callable[..., Run]:
    """Return a call of the program: action, claims of the stand-ins, and TVM as a whole or not."""

    def call(action: str, claims: str = H100, *, runtime_only: bool = True) -> Run:
        log = tmp_path / "log"
        command = [sys.executable, PROGRAM, stand_ins / RUNTIME, stand_ins / "step.so", action]
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(stand_ins),
            "STAND_IN_CUDA": claims,
            "STAND_IN_CUDA_LOG": str(log),
            "TVM_USE_RUNTIME_LIB": "1" if runtime_only else "0",
        }
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return Run(json.loads(done.stdout.splitlines()[-1]), log.read_text().splitlines())

    return call


@pytest.mark.parametrize("runtime_only", [True, False])
def test_a_library_is_loaded_as_it_is_and_nothing_is_compiled(
    run: Callable[..., Run], runtime_only: bool
) -> None:
    found = run("load", runtime_only=runtime_only)
    assert found.answer["compiler"] is not runtime_only
    assert found.lines("load") == ["load ba55ed50"]  # the magic number of a fat binary
    assert len(found.lines("launch")) == 3
    assert found.answer["name"].startswith("NVIDIA H100, driver ")


def test_kernels_are_launched_on_the_stream_of_the_backend(run: Callable[..., Run]) -> None:
    for line in run("load").lines("launch"):
        assert " grid 2 1 1 block 128 1 1 " in line
        assert " stream own " in line


def test_a_kernel_that_asks_for_it_may_start_early(run: Callable[..., Run]) -> None:
    launches = run("load").lines("launch")
    assert ["dependent 1" in line for line in launches] == [False, True, False]


def test_a_step_is_captured_once_and_replayed_as_one_launch(run: Callable[..., Run]) -> None:
    found = run("record")
    assert found.answer["copied"] == 2.0
    order = [line.split(" grid")[0] for line in found.log]
    begin, end = order.index("begin capture mode 1"), order.index("end capture")
    assert order[begin + 1 : end] == ["launch double_kernel", "launch double_early_kernel",
                                      "launch double_kernel"]  # fmt: skip
    assert order[end + 1 : end + 3] == ["instantiate", "graph launch own"]
    assert order.count("graph launch own") == 3
    assert order.count("begin capture mode 1") == 1
    assert order.count("graph freed") == 1


def test_a_graph_keeps_the_memory_that_its_kernels_address(run: Callable[..., Run]) -> None:
    """Work between replays must get other memory than the captured step writes to."""
    found = run("record")
    split = found.log.index("first run over")
    begin = found.log.index("begin capture mode 1")
    captured = {_address(line) for line in found.log[begin:split] if line.startswith("launch")}
    later = [line for line in found.log[split:] if line.startswith("launch")]
    upload = min(captured, key=lambda address: _first_use(found.log, address))
    assert len(later) == 9
    assert captured & {_address(line) for line in later} == {upload}


def test_a_capture_that_fails_leaves_the_stream_usable(run: Callable[..., Run]) -> None:
    found = run("fail-in-capture")
    assert "cudaStreamSynchronize failed" in found.answer["refused"]
    refused = found.log.index("refused")
    assert "graph launch own" not in found.log[:refused]
    assert found.log[refused:].count("graph launch own") == 1


def test_a_profile_names_each_kernel_with_its_time(run: Callable[..., Run]) -> None:
    kernels = run("profile").answer["kernels"]
    assert [kernel["kernel"] for kernel in kernels] == ["double", "double_early", "double"]
    assert all(kernel["milliseconds"] == 0.5 for kernel in kernels)


def test_too_little_memory_is_a_memory_error(run: Callable[..., Run]) -> None:
    found = run("memory", "memory=67108864;" + H100)
    assert found.answer["error"] == "MemoryLimitError"
    assert "out of memory" in found.answer["found"]


def test_a_chip_without_code_is_named_by_the_driver(run: Callable[..., Run]) -> None:
    found = run("load", "load=209;" + H100)
    assert found.answer["error"] == "DeviceError"
    assert "NO_BINARY_FOR_GPU" in found.answer["found"]
    assert "--cuda-arch" in found.answer["fix"]


def test_a_kernel_that_is_missing_is_a_device_error(run: Callable[..., Run]) -> None:
    found = run("load", "missing=double_early_kernel;" + H100)
    assert found.answer["error"] == "DeviceError"
    assert "double_early_kernel" in found.answer["found"]


def test_the_script_for_an_nvidia_machine_finds_every_wrong_answer(
    stand_ins: Path, tmp_path: Path
) -> None:
    """The stand-ins compute nothing: all answers must count as wrong, and the table go on."""
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(stand_ins),
        "LD_PRELOAD": str(stand_ins / RUNTIME),
        "STAND_IN_CUDA": H100,
    }
    build = [sys.executable, CHECKS, "build", tmp_path, "--cuda-arch", "80"]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    done = subprocess.run(
        [sys.executable, CHECKS, "run", tmp_path],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    cases = [line for line in lines if " check_" in line]
    assert done.returncode == 1
    assert len(cases) == len(OPERATION_CASES) + len(MEMORY_CASES)
    assert all(line.startswith("FAIL") for line in cases)
    assert lines[-1] == f"{len(cases) + 3} failures"  # three of the graph's


def _address(line: str) -> str:
    return line.rpartition(" ")[2]


def _first_use(log: list[str], address: str) -> int:
    return next(i for i, line in enumerate(log) if line.endswith(address))
