from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Ferry

import ferrylm.compile
from ferrylm.cli.progress_bars import count_text
from ferrylm.errors import SourceError
from ferrylm.runtime.progress import Progress


@dataclass(frozen=True)
class FakeResult:
    path: Path
    artifact_id: str
    seconds: dict[str, float]
    size_bytes: int


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of options that the compiler was called with."""
    asked: list[Any] = []

    def compile_model(options: Any, progress: Any) -> FakeResult:
        asked.append(options)
        progress(Progress("read the source", 1, 2, "tensors"))
        if options.source.name == "broken.gguf":
            raise SourceError("a short file", wanted="a whole one", fix="fetch it again")
        return FakeResult(options.output, "ab" * 32, {"read": 0.5, "build": 12.25}, 96 << 20)

    monkeypatch.setattr(ferrylm.compile, "compile_model", compile_model, raising=False)
    return asked


def test_compile_passes_every_option_on(ferry: Ferry, compiled: list[Any]) -> None:
    ended = ferry(
        *("compile", "m.gguf", "-o", "dist/m", "--quant", "q8f16", "--head", "q0f16"),
        *("--target", "cpu-x86-64-v3, cpu", "--arithmetic", "f32", "--context", "99"),
        *("--weights", "random", "--seed", "7"),
    )
    assert ended.code == 0, ended.stderr
    (options,) = compiled
    assert (options.source, options.output) == (Path("m.gguf"), Path("dist/m"))
    assert (options.quantization, options.head_quantization) == ("q8f16", "q0f16")
    assert options.targets == ("cpu-x86-64-v3", "cpu")
    assert (options.arithmetic, options.context_length) == ("f32", 99)
    assert (options.weights, options.seed) == ("random", 7)


def test_what_is_not_given_is_q4f16_int16_for_the_cpu(ferry: Ferry, compiled: list[Any]) -> None:
    ferry("compile", "m.gguf", "-o", "dist/m")
    (options,) = compiled
    assert (options.quantization, options.head_quantization) == ("q4f16", None)
    assert (options.targets, options.arithmetic) == (("cpu",), "int16")
    assert (options.context_length, options.weights) == (None, "stored")


def test_compile_prints_the_path_and_where_the_time_went(ferry: Ferry, compiled: list[Any]) -> None:
    ended = ferry("compile", "m.gguf", "-o", "dist/m")
    assert ended.stdout == "dist/m\n"
    assert ended.stderr == "96.00 MiB in 12.8 s (read 0.50 s, build 12.2 s)\n"
    assert ferry("compile", "m.gguf", "-o", "dist/m", "--quiet").stderr == ""


def test_json_has_path_id_size_and_seconds(ferry: Ferry, compiled: list[Any]) -> None:
    assert ferry("compile", "m.gguf", "-o", "dist/m", "--json").document == {
        "path": "dist/m",
        "artifact_id": "ab" * 32,
        "size_bytes": 96 << 20,
        "seconds": {"read": 0.5, "build": 12.25},
    }


def test_a_broken_source_is_one_line(ferry: Ferry, compiled: list[Any]) -> None:
    ended = ferry("compile", "broken.gguf", "-o", "dist/m")
    assert ended.code == 1
    assert ended.stderr == "error: a short file; wanted a whole one; fetch it again\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["m.gguf"],
        ["m.gguf", "-o", "d", "--quant", "q5"],
        ["m.gguf", "-o", "d", "--context", "0"],
        ["m.gguf", "-o", "d", "--target", ","],
    ],
)
def test_a_bad_request_is_refused_before_anything_is_compiled(
    ferry: Ferry, compiled: list[Any], arguments: list[str]
) -> None:
    assert ferry("compile", *arguments).code == 2
    assert compiled == []


def test_an_unknown_target_gets_the_nearest_name(ferry: Ferry, compiled: list[Any]) -> None:
    ended = ferry("compile", "m.gguf", "-o", "d", "--target", "cpu,cpu-x86-64v3")
    assert ended.code == 2
    assert "the unknown target 'cpu-x86-64v3'; wanted one of all, cpu, " in ended.stderr
    assert "did you mean cpu-x86-64-v3?" in ended.stderr
    assert compiled == []


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress("a", 1, 2, "tensors"), "1/2 tensors"),
        (Progress("a", 1 << 20, 2 << 20, "B"), "1.00 MiB/2.00 MiB"),
        (Progress("a", 0, 0, "steps"), ""),
        (Progress("a", 5, 0, "steps"), "5"),
    ],
)
def test_progress_is_counted_in_its_unit(progress: Progress, text: str) -> None:
    assert count_text(progress) == text
