"""The command line on the real model, as a user runs it: in a process with TVM's runtime alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.model, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
QUESTION = "Why is the sky blue?"  # its greedy answer names Rayleigh scattering, in float32 too
GREEDY = ("--temp", "0", "-n", "40")


@pytest.fixture(scope="module")
def smollm2() -> str:
    path = os.environ.get("FERRY_TEST_ARTIFACT")
    if not path:
        pytest.skip("FERRY_TEST_ARTIFACT names no artifact; scripts/test.sh compiles one")
    return path


def ferry(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TVM_USE_RUNTIME_LIB": "1"}
    return subprocess.run(
        [sys.executable, "-m", "ferrylm.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        input=stdin,
        env=environment,
    )


def test_run_answers_and_json_says_the_same(smollm2: str) -> None:
    plain = ferry("run", smollm2, "-p", QUESTION, *GREEDY)
    assert plain.returncode == 0, plain.stderr
    assert "Rayleigh" in plain.stdout
    assert plain.stderr.startswith("prompt ")
    assert plain.stderr.count("\n") == 1
    document = json.loads(ferry("run", smollm2, "-p", QUESTION, *GREEDY, "--json").stdout)
    assert document["text"] + "\n" == plain.stdout
    assert document["prompt_tokens"] > len(QUESTION.split())


def test_chat_through_a_pipe_gives_the_model_all_that_was_said(smollm2: str) -> None:
    lines = f"{QUESTION}\nTell me more.\n"
    done = ferry("chat", smollm2, "--json", *GREEDY, stdin=lines)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert "Rayleigh" in first["content"]
    assert second["content"]
    assert second["prompt_tokens"] > first["prompt_tokens"] + first["answer_tokens"]


def test_a_prompt_longer_than_the_context_is_one_line(smollm2: str) -> None:
    done = ferry("run", smollm2, "-p", "word " * 200, "-c", "64")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_an_absent_device_is_refused_and_nothing_else_is_run(smollm2: str) -> None:
    done = ferry("run", smollm2, "-p", "x", "--device", "rocm")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "rocm" in done.stderr


def test_bench_measures_the_real_engine(smollm2: str) -> None:
    done = ferry("bench", smollm2, "-p", "16", "-n", "4", "-r", "2", "-t", "1", "--json")
    assert done.returncode == 0, done.stderr
    prompt, generation = json.loads(done.stdout)
    assert (prompt["n_prompt"], generation["n_gen"]) == (16, 4)
    assert 134e6 < prompt["model_n_params"] < 135e6
    assert len(generation["samples_ns"]) == 2
    # All weights are read once for a token: the embedding is the head, so none is left out.
    assert generation["bytes_per_token"] > generation["model_size"]
    assert generation["bandwidth_percent"] > 0


def test_verify_finds_the_artifact_whole(smollm2: str) -> None:
    done = ferry("verify", smollm2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all passed" in done.stdout
