"""Steps that are watched on an NVIDIA GPU: what is asked of CUDA, in which order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cuda_steps import step_library
from stand_in_driver import RUNTIME, build_stand_ins

PROGRAM = Path(__file__).parents[1] / "support" / "observed_cuda_program.py"
H100 = "device=9.0,85899345920,NVIDIA H100"
KERNELS = ["double", "double_early", "double"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """Return the program's answer and the log of the stand-ins from the timing on."""
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
    return json.loads(done.stdout.splitlines()[-1]), lines[lines.index("sequence") :]


def test_a_watched_step_names_its_kernels(observed: tuple[dict[str, Any], list[str]]) -> None:
    answer, _ = observed
    assert answer["names"] == KERNELS


def test_all_launches_of_a_kernel_are_one_graph_that_is_timed_as_a_whole(
    observed: tuple[dict[str, Any], list[str]],
) -> None:
    answer, log = observed
    timed = log[: log.index("measured")]
    captures = _between(timed, "begin capture", "end capture")
    sets = 4  # 512 MiB, of which two launches read 128
    turns = 8  # 4 ms, of which the stand-in says that a replay takes a half
    assert [len(launches) for launches in captures] == [2 * sets, 2 * sets * turns]
    assert all(line.startswith("launch double_kernel ") for one in captures for line in one)
    assert answer["times"] == pytest.approx([0.5 / (2 * sets * turns)] * 3)
    replays = [line for line in timed if line.startswith("graph launch")]
    assert replays == ["graph launch own"] * (2 + 4)
    assert timed.count("graph freed") == 2


def test_launches_take_turns_with_copies_of_what_no_cache_holds(
    observed: tuple[dict[str, Any], list[str]],
) -> None:
    answer, log = observed
    first = _between(log, "begin capture", "end capture")[0]
    read = [line.rpartition(" ")[2] for line in first]
    assert read[0] == answer["x"]
    assert len({*read[::2]}) == 4  # x and three copies of it
    assert len({*read[1::2]}) == 1  # the activation, which is in the cache in a step too


def test_whole_numbers_are_put_back_before_anything_is_timed(
    observed: tuple[dict[str, Any], list[str]],
) -> None:
    answer, log = observed
    assert answer["integers"] == [3] * 4
    assert log.index("copy 16 stream default") < log.index("begin capture mode 1")


def test_after_it_the_step_is_replayed_again(
    observed: tuple[dict[str, Any], list[str]],
) -> None:
    _, log = observed
    after = log[log.index("measured") :]
    assert [line for line in after if line.startswith(("launch", "graph launch"))] == [
        "graph launch own"
    ]


def _between(log: list[str], first: str, last: str) -> list[list[str]]:
    """Return the launches between each pair of lines that begin so."""
    found: list[list[str]] = []
    inside = False
    for line in log:
        if line.startswith(first):
            inside = True
            found.append([])
        elif line.startswith(last):
            inside = False
        elif inside and line.startswith("launch"):
            found[-1].append(line)
    return found
