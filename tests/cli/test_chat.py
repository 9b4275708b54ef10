from __future__ import annotations

import json

import pytest
from cli_fakes import FakeModel, Ferry, press_ctrl_c

from ferrylm.errors import ContextOverflowError


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_each_line_is_answered_with_all_that_was_said_before(
    ferry: Ferry, model: FakeModel
) -> None:
    model.answers = [["First"], ["Sec", "ond"]]
    ended = ferry("chat", "dist/m", stdin="one\n\ntwo\n")
    assert ended.code == 0
    assert ended.stdout == "First\nSecond\n"
    assert model.asked[0]["prompt"] == [user("one")]
    assert model.asked[1]["prompt"] == [user("one"), assistant("First"), user("two")]
    assert model.closed


def test_the_end_of_stdin_ends_the_conversation_without_a_newline(
    ferry: Ferry, model: FakeModel
) -> None:
    ended = ferry("chat", "dist/m", stdin="one")
    assert (ended.code, ended.stdout) == (0, "Hello, world\n")


def test_exit_ends_the_conversation_and_leaves_the_rest(ferry: Ferry, model: FakeModel) -> None:
    assert ferry("chat", "dist/m", stdin="one\n/exit\ntwo\n").code == 0
    assert len(model.asked) == 1


def test_reset_forgets_all_but_the_system_message(ferry: Ferry, model: FakeModel) -> None:
    ferry("chat", "dist/m", "--system", "S", stdin="one\n/reset\ntwo\n")
    assert model.asked[1]["prompt"] == [{"role": "system", "content": "S"}, user("two")]


def test_system_begins_anew_with_another_message_or_none(ferry: Ferry, model: FakeModel) -> None:
    ferry("chat", "dist/m", "--system", "S", stdin="/system Be T.\none\n/system\ntwo\n")
    assert model.asked[0]["prompt"] == [{"role": "system", "content": "Be T."}, user("one")]
    assert model.asked[1]["prompt"] == [user("two")]


def test_set_changes_the_next_answer(ferry: Ferry, model: FakeModel) -> None:
    lines = "/set temp=0.25\n/set max-tokens 5\n/set stop=END\none\n"
    assert ferry("chat", "dist/m", stdin=lines).code == 0
    asked = model.asked[0]
    assert asked["options"].temperature == 0.25
    assert (asked["max_tokens"], asked["stop"]) == (5, ("END",))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("/set tmep=1", "did you mean temp?"),
        ("/set temp=hot", "wanted a number"),
        ("/set temp=-1", "temperature is -1.0"),
        ("/set temp=nan", "temperature is nan"),
        ("/set max_tokens=0", "at least 1"),
        ("/rest", "did you mean /reset?"),
    ],
)
def test_a_bad_command_is_an_error_line_and_the_conversation_goes_on(
    ferry: Ferry, model: FakeModel, line: str, text: str
) -> None:
    ended = ferry("chat", "dist/m", stdin=f"{line}\none\n")
    assert text in ended.stderr
    assert ended.stdout == "Hello, world\n"
    assert model.asked[0]["options"].temperature is None
    assert ended.code == 1  # a script must see that a line of it failed


def test_help_stats_and_settings_go_to_stderr(ferry: Ferry, model: FakeModel) -> None:
    ended = ferry("chat", "dist/m", stdin="/help\n/stats\n/set\none\n/stats\n")
    assert ended.stdout == "Hello, world\n"
    for text in ("/reset", "no answer yet", "temp = the default", "1 answers with 3 tokens",
                 "first token after 0.21 s"):  # fmt: skip
        assert text in ended.stderr


def test_ctrl_c_ends_the_answer_and_keeps_the_conversation(ferry: Ferry, model: FakeModel) -> None:
    model.answers = [["one ", press_ctrl_c, "never"], ["two"]]
    ended = ferry("chat", "dist/m", stdin="a\nb\n")
    assert ended.code == 0
    assert ended.stdout == "one cut \ntwo\n"
    assert model.asked[1]["prompt"] == [user("a"), assistant("one cut "), user("b")]


def test_a_failed_answer_leaves_the_conversation_as_it_was(ferry: Ferry, model: FakeModel) -> None:
    model.errors[1] = ContextOverflowError("5000 tokens", wanted="4096", fix="use /reset")
    ended = ferry("chat", "dist/m", stdin="a\nb\nc\n")
    assert "error: 5000 tokens" in ended.stderr
    assert model.asked[2]["prompt"] == [user("a"), assistant("Hello, world"), user("c")]
    assert ended.code == 1


def test_json_prints_one_line_for_each_answer(ferry: Ferry, model: FakeModel) -> None:
    ended = ferry("chat", "dist/m", "--json", stdin="a\nb\n")
    documents = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [d["content"] for d in documents] == ["Hello, world"] * 2
    assert documents[0]["role"] == "assistant"
    assert documents[0]["finish_reason"] == "stop"


def test_an_error_among_json_lines_is_a_line_too(ferry: Ferry, model: FakeModel) -> None:
    ended = ferry("chat", "dist/m", "--json", stdin="/nothing\na\n")
    documents = [json.loads(line) for line in ended.stdout.splitlines()]
    assert documents[0]["error"]["code"] == "UsageError"
    assert documents[1]["content"] == "Hello, world"


def test_lines_end_as_windows_ends_them_too(ferry: Ferry, model: FakeModel) -> None:
    ferry("chat", "dist/m", stdin="one\r\n/exit\r\n")
    assert [asked["prompt"] for asked in model.asked] == [[user("one")]]
