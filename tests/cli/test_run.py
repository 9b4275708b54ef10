from __future__ import annotations

from pathlib import Path

import pytest
from cli_fakes import FakeModel, Ferry, press_ctrl_c

from ferrylm.cli import stdin_text
from ferrylm.errors import ContextOverflowError


def test_run_streams_the_text_to_stdout_and_one_line_to_stderr(
    ferry: Ferry, model: FakeModel
) -> None:
    ended = ferry("run", "dist/m", "-p", "Hi")
    assert ended.code == 0
    assert ended.stdout == "Hello, world\n"
    assert ended.stderr == "prompt 7 tok 0.21 s | 3 tok, 131.4 tok/s | ctx 10/4096\n"
    assert model.closed
    assert model.streams[0].closed


def test_run_says_nothing_on_stderr_when_quiet(ferry: Ferry, model: FakeModel) -> None:
    assert ferry("run", "dist/m", "-p", "Hi", "--quiet").stderr == ""


def test_run_asks_in_the_models_chat_form(ferry: Ferry, model: FakeModel) -> None:
    ferry("run", "dist/m", "-p", "Hi", "--system", "Be brief.")
    assert model.asked[0]["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_raw_gives_the_prompt_as_it_stands(ferry: Ferry, model: FakeModel) -> None:
    ferry("run", "dist/m", "-p", "Once upon", "--raw")
    assert model.asked[0]["prompt"] == "Once upon"
    ended = ferry("run", "dist/m", "-p", "x", "--raw", "--system", "y")
    assert ended.code == 2
    assert "--raw and --system" in ended.stderr


@pytest.mark.parametrize("verb", ["run", "chat"])
def test_a_model_without_a_template_is_refused_with_the_way_out(
    ferry: Ferry, model: FakeModel, verb: str
) -> None:
    model.chat_template = None
    ended = ferry(verb, "dist/m", stdin="x")
    assert ended.code == 1
    assert "--raw" in ended.stderr
    assert model.asked == []
    assert ferry("run", "dist/m", "--raw", "-p", "x").code == 0


def test_run_passes_every_option_on(ferry: Ferry, model: FakeModel, artifact: Path) -> None:
    ferry(
        *("run", str(artifact), "-p", "x", "-n", "9", "--temp", "0.5", "--top-k", "4"),
        *("--top-p", "0.9", "--min-p", "0.1", "--repeat-penalty", "1.1", "--seed", "3"),
        *("--stop", "a", "--stop", "b", "-t", "2", "-c", "128", "--device", "cpu"),
        *("--target", "cpu-x86-64-v3"),
    )
    path, placement = model.loaded[0]
    assert path == artifact
    del placement["progress"]
    assert placement == {
        "device": "cpu",
        "target": "cpu-x86-64-v3",
        "threads": 2,
        "context_length": 128,
    }
    asked = model.asked[0]
    options = asked["options"]
    assert (asked["max_tokens"], asked["stop"]) == (9, ("a", "b"))
    assert (options.temperature, options.top_k, options.top_p) == (0.5, 4, 0.9)
    assert (options.min_p, options.repetition_penalty, options.seed) == (0.1, 1.1, 3)


def test_what_is_not_given_is_left_to_the_model(ferry: Ferry, model: FakeModel) -> None:
    ferry("run", "dist/m", "-p", "x")
    options = model.asked[0]["options"]
    assert (options.temperature, options.top_k, options.top_p, options.min_p) == (None,) * 4
    assert (options.repetition_penalty, options.seed) == (None, None)
    assert model.asked[0]["max_tokens"] is None


def test_a_value_out_of_range_is_refused_before_the_model_is_loaded(
    ferry: Ferry, model: FakeModel
) -> None:
    ended = ferry("run", "dist/m", "-p", "x", "--top-p", "1.5")
    assert ended.code == 2
    assert "top_p is 1.5" in ended.stderr
    assert model.loaded == []


@pytest.mark.parametrize("arguments", [[], ["-p", "-"]])
def test_the_prompt_may_come_from_stdin(
    ferry: Ferry, model: FakeModel, arguments: list[str]
) -> None:
    ferry("run", "dist/m", "--raw", *arguments, stdin="two\nlines\n")
    assert model.asked[0]["prompt"] == "two\nlines"


def test_stdin_that_is_not_utf8_is_refused(ferry: Ferry, model: FakeModel) -> None:
    ended = ferry("run", "dist/m", stdin=b"ab\xff")
    assert ended.code == 2
    assert "not UTF-8 at position 2" in ended.stderr
    assert model.loaded == []


def test_stdin_without_end_is_refused_at_its_limit(
    ferry: Ferry, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdin_text, "MAX_STDIN_BYTES", 10)
    assert ferry("run", "dist/m", stdin="x" * 11).code == 2
    assert ferry("run", "dist/m", stdin="x" * 10).code == 0


@pytest.mark.parametrize("verb", ["run", "chat", "bench", "verify"])
def test_an_unknown_target_gets_the_nearest_name(
    ferry: Ferry, model: FakeModel, artifact: Path, verb: str
) -> None:
    ended = ferry(verb, str(artifact), "--target", "cpu-x86-64v4", stdin="x")
    assert ended.code == 1
    assert "did you mean cpu-x86-64-v4?" in ended.stderr
    assert model.loaded == []


def test_json_prints_one_document_with_text_and_timings(ferry: Ferry, model: FakeModel) -> None:
    document = ferry("run", "dist/m", "-p", "x", "--json").document
    assert document["text"] == "Hello, world"
    assert document["finish_reason"] == "stop"
    assert document["prompt_tokens"] == 7
    assert document["answer_tokens"] == 3
    assert document["seed"] == 42
    assert document["timings"]["decode_tok_s"] == 131.44


def test_ctrl_c_keeps_what_was_said_and_exits_130(ferry: Ferry, model: FakeModel) -> None:
    model.answers = [["one ", press_ctrl_c, "never"]]
    ended = ferry("run", "dist/m", "-p", "x")
    assert ended.code == 130
    assert ended.stdout == "one cut \n"
    assert model.streams[0].closed
    assert model.closed


def test_an_error_of_the_model_is_one_line(ferry: Ferry, model: FakeModel) -> None:
    model.errors[0] = ContextOverflowError("5000 tokens", wanted="4096", fix="shorten it")
    ended = ferry("run", "dist/m", "-p", "x")
    assert ended.code == 1
    assert ended.stderr == "error: 5000 tokens; wanted 4096; shorten it\n"
    assert model.closed
