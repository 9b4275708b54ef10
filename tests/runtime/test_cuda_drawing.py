"""Drawing ahead on an NVIDIA GPU, on the stand-ins: what is launched and copied, in which order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cuda_steps import step_library
from stand_in_driver import RUNTIME, build_stand_ins

PROGRAM = Path(__file__).parents[1] / "support" / "cuda_program.py"
Run = Callable[[str], tuple[dict[str, Any], list[str]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = build_stand_ins(tmp_path_factory.mktemp("cuda"))
    (folder / "step.so").write_bytes(step_library("80"))

    def call(action: str) -> tuple[dict[str, Any], list[str]]:
        log = folder / f"log-{action}"
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(folder),
            "STAND_IN_CUDA": "device=9.0,85899345920,NVIDIA H100",
            "STAND_IN_CUDA_LOG": str(log),
            "TVM_USE_RUNTIME_LIB": "1",
        }
        command = [sys.executable, PROGRAM, folder / RUNTIME, folder / "step.so", action]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), log.read_text().splitlines()

    return call


def test_entries_come_by_a_stream_of_their_own_without_a_wait_for_the_steps(run: Run) -> None:
    answer, log = run("outbox")
    assert answer["taken"] == [[3, -3], [1, -1]]
    assert answer["there"]
    assert answer["copied"] == [3, -3]
    assert "stream flags 1" in log, "a stream that waits for no other"
    first = log.index("copy 8 stream own")
    assert not [line for line in log[first : first + 4] if line.startswith("synchronize")]


def test_a_step_is_recorded_among_padding_and_then_is_one_launch(run: Run) -> None:
    answer, log = run("draw-ahead")
    assert answer["shapes"] == [
        [2, [1, 2], [2], [2, 4], [2], [2], [16, 2, 4]],
        [1, [1, 1], [1], [1, 4], [1], [1], [16, 1, 4]],
    ]
    assert answer["positions"] == [6, 11]
    assert answer["reports"] == [3, 6]
    leaves, landing = log.index("one leaves"), log.index("landing")
    for part in (log[:leaves], log[leaves:landing]):
        recorded = part.index("end capture")
        launches = [i for i, line in enumerate(part) if line == "graph launch own"]
        assert len(launches) == 3
        assert recorded < launches[0]
        between = part[launches[0] : launches[-1]]
        assert set(between) <= {"graph launch own", "copy 32 stream own", "copy 16 stream own"}
    assert not [line for line in log[landing:] if line.startswith("graph launch")]
