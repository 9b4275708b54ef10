"""Chat templates render as Hugging Face's, each in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ferrylm.errors import TemplateError, UsageError
from ferrylm.runtime import template_process
from ferrylm.runtime.chat_template import ChatTemplate

USER = [{"role": "user", "content": "hi"}]

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture
def made() -> Iterator[Any]:
    """Make templates that are closed after the test."""
    templates: list[ChatTemplate] = []

    def make(text: str, special_tokens: dict[str, str] | None = None) -> ChatTemplate:
        templates.append(ChatTemplate(text, special_tokens))
        return templates[-1]

    yield make
    for template in templates:
        template.close()


def test_a_chatml_conversation_is_written_out(made: Any) -> None:
    messages = [
        *USER,
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    assert made(CHATML).render(messages) == (
        "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert not made(CHATML).render(messages, add_generation_prompt=False).endswith("assistant\n")


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{{ bos_token }}|{{ eos_token is defined }}", "<s>|False"),
        ("{{ {'a': '<é>&\\''} | tojson }}", '{"a": "<é>&\'"}'),
        ("{{ {'b': 1, 'a': [1]} | tojson(indent=2) }}", '{\n  "b": 1,\n  "a": [\n    1\n  ]\n}'),
        ("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("{% for i in [1] %}\n    {% if i %}\nx\n    {% endif %}\n{% endfor %}", "x\n"),
        ("{% generation %}{{ 'answer' }}{% endgeneration %}", "answer"),
        ("{{ strftime_now('%Y') | int > 2000 }}", "True"),
        ("{{ tools is none }} {{ messages | length }}", "True 1"),
        ("{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 2 %}{{ ns.n }}", "2"),
        ("{{ messages[0].content.split('i')[0].strip() }}", "h"),
        ("{{ enable_thinking }}", "False"),
        ("{{ 'é😀\\u2028' }}", "é😀\u2028"),
    ],
)
def test_what_templates_of_models_use_is_there(made: Any, template: str, wanted: str) -> None:
    rendered = made(template, {"bos_token": "<s>"}).render(
        USER, variables={"enable_thinking": False}
    )
    assert rendered == wanted


def test_tools_and_tool_calls_reach_the_template(made: Any) -> None:
    template = made(
        "{{ tools[0].function.name }}{{ messages[1].tool_calls[0].function.arguments.x }}"
        "{{ messages[1].content is none }}"
    )
    call = {"function": {"name": "f", "arguments": {"x": 3}}}
    messages = [*USER, {"role": "assistant", "tool_calls": [call]}]
    assert template.render(messages, tools=[{"function": {"name": "f"}}]) == "f3True"


def test_a_template_may_refuse_its_messages(made: Any) -> None:
    template = made("{{ raise_exception('roles must alternate') }}")
    for _ in range(2):
        with pytest.raises(TemplateError, match="roles must alternate"):
            template.render(USER)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for x in %}", "line 1"),
        ("\n\n{{ x", "line 3"),
        ("{{ missing.attribute }}", "undefined"),
        ("{% include '/etc/passwd' %}", "loader"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.append(messages[0]) }}", "unsafe"),
        ("{{ messages | nofilter }}", "nofilter"),
        ("\ud800{{ 1 / 0 }}", "failed"),
    ],
)
def test_a_broken_template_is_an_error_that_says_where(
    made: Any, template: str, reason: str
) -> None:
    with pytest.raises(TemplateError, match=reason):
        made(template).render(USER)


def test_the_next_conversation_works_after_a_bomb(made: Any) -> None:
    bomb = "{% if messages | length > 1 %}{{ 'a' * 3000000000 }}{% endif %}fine"
    template = made(bomb)
    assert template.render(USER) == "fine"
    with pytest.raises(TemplateError, match="memory"):
        template.render(USER * 2)
    assert template.render(USER) == "fine"


def test_the_next_conversation_works_after_the_process_was_killed(made: Any) -> None:
    template = made("fine")
    template.start()
    template._process._process.kill()
    template._process._process.wait()
    with pytest.raises(TemplateError):
        template.render(USER)
    assert template.render(USER) == "fine"


def test_a_process_that_never_answers_is_ended(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_process, "WALL_LIMIT_S", 0.2)
    template = made("fine")
    template.start()
    process = template._process._process
    process.send_signal(19)  # SIGSTOP: it uses no processor time at all
    with pytest.raises(TemplateError, match="does not end"):
        template.render([{"role": "user", "content": "x" * 1_000_000}])
    assert process.returncode is not None


def test_one_process_serves_all_renderings_and_ends_with_close(made: Any) -> None:
    template = made("{{ messages[0].content }}")
    assert [template.render([{"role": "user", "content": str(i)}]) for i in range(5)] == list(
        "01234"
    )
    process = template._process._process
    assert process.poll() is None
    template.close()
    template.close()
    assert process.returncode is not None


def test_a_forgotten_template_leaves_no_process_behind() -> None:
    template = ChatTemplate("x")
    template.start()
    process = template._process._process  # type: ignore[union-attr]
    del template
    assert process.returncode is not None


def test_threads_get_their_own_answers(made: Any) -> None:
    template = made("{{ messages[0].content }}")
    wrong: list[str] = []

    def ask(who: str) -> None:
        for _ in range(20):
            if template.render([{"role": "user", "content": who}]) != who:
                wrong.append(who)

    threads = [threading.Thread(target=ask, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_long_document_in_the_messages_is_no_bomb(made: Any) -> None:
    text = "é\n" * 1_000_000
    assert made("{{ messages[0].content }}").render([{"role": "user", "content": text}]) == text


def test_a_template_of_more_than_64_kib_is_refused() -> None:
    ChatTemplate("é" * (32 << 10))
    with pytest.raises(TemplateError, match="65538"):
        ChatTemplate("é" * ((32 << 10) + 1))


def test_too_many_bytes_of_messages_are_refused(made: Any) -> None:
    with pytest.raises(UsageError, match="at most 16777216"):
        made("x").render([{"role": "user", "content": "a" * (16 << 20)}])


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ("hi", "type str"),
        ({"role": "user"}, "type dict"),
        ([], "0 messages"),
        (["hi"], r"messages\[0\]"),
        ([{"content": "hi"}], r"messages\[0\].role"),
        ([{"role": 1, "content": "hi"}], r"messages\[0\].role"),
        ([{"role": "user"}], r"messages\[0\].content"),
        ([*USER, {"role": "user", "content": 5}], r"messages\[1\].content"),
        ([{"role": "user", "content": b"hi"}], r"messages\[0\].content"),
        ([{"role": "user", "content": []}], r"messages\[0\].content"),
        ([{"role": "user", "content": [{"type": "image"}]}], r"messages\[0\].content\[0\]"),
        ([{"role": "user", "content": "hi", "name": object()}], r"messages\[0\].name"),
        ([{"role": "user", "content": "hi", 5: 6}], r"messages\[0\]"),
        ([{"role": "user", "content": "hi"}] * 10_001, "10001 messages"),
    ],
)
def test_malformed_messages_are_refused_by_their_place(
    made: Any, messages: Any, where: str
) -> None:
    with pytest.raises(UsageError, match=where):
        made("x").render(messages)


def test_messages_that_contain_themselves_are_refused(made: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UsageError, match="32 deep"):
        made("x").render([{"role": "user", "content": "hi", "tool_calls": loop}])


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "bos_token"])
def test_variables_cannot_take_the_place_of_the_runtimes_own(made: Any, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        made("x", {"bos_token": "<s>"}).render(USER, variables={name: "other"})
