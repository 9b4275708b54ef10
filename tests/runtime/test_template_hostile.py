"""A hostile chat template costs little and reaches nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ferrylm.errors import TemplateError
from ferrylm.runtime.chat_template import ChatTemplate

USER = [{"role": "user", "content": "hi"}]


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


BOMBS = {
    "nested loops": "{% for i in range(9**5) %}{% for j in range(9**5) %}{% endfor %}{% endfor %}",
    "a range too long": "{{ range(10**12) | list }}",
    "a multiplied text": "{{ 'a' * 3000000000 }}",
    "a multiplied list": "{{ ([0] * 3000000000) | length }}",
    "a centred text": "{{ 'a' | center(3000000000) }}",
    "a padded text": "{{ 'a'.ljust(3000000000) }}",
    "a padded number": "{{ '%3000000000d' % 1 }}",
    "a format": "{{ '{:3000000000d}'.format(1) }}",
    "an indent": "{{ messages | tojson(indent=2000000000) }}",
    "a power": "{{ 10 ** (10 ** 9) }}",
    "a macro that calls itself": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "a doubled text": (
        "{% set ns = namespace(x='ab') %}"
        "{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
    ),
    "a doubled list": (
        "{% set ns = namespace(x=[1]) %}"
        "{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
    ),
    "a replacement of each letter": (
        "{% set ns = namespace(x='aa') %}"
        "{% for i in range(99) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}"
    ),
    "a join": "{{ range(99999) | join('a' * 99999) }}",
    "a long output": "{% for i in range(99999) %}{{ 'a' * 999 }}{% endfor %}",
    "deep brackets": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "deep lists": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "deep conditions": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "many filters": "{{ 1" + "|int" * 12000 + " }}",
    "a sum without end": "{{ 1" + "+1" * 20000 + " }}",
    "a template in itself": "{% extends self %}{% block a %}{{ self.a() }}{% endblock %}",
    "a block in itself": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "a slow expression": "{{ ('a b ' * 999999) | wordwrap(1) | length }}",
    "a sort of sorts": "{% for i in range(99999) %}{% set x = range(99999) | sort %}{% endfor %}",
}

MEASURE = """
import json, resource, sys
from ferrylm.errors import TemplateError
from ferrylm.runtime.chat_template import ChatTemplate
template = ChatTemplate(json.loads(sys.argv[1]))
try:
    template.render([{"role": "user", "content": "hi"}])
    verdict = "rendered"
except TemplateError as error:
    verdict = str(error)
template.close()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([verdict, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_a_second_and_128_mib(name: str) -> None:
    """Processor time and memory as the system counted them for the process of the template."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(BOMBS[name])],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    verdict, cpu_s, peak_kib = json.loads(run.stdout)
    assert verdict != "rendered"
    assert cpu_s <= 1.0
    assert peak_kib <= 128 << 10


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__['sys'] }}",
        "{{ (messages | attr('__class__')).__bases__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__code__.co_consts }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
        "{{ ('{0.__class__.__init__.__globals__}' | format)(cycler) }}",
        "{{ '{x.__class__.__mro__}'.format_map({'x': 1}) }}",
        "{% set f = ''.format %}{{ f.__self__.__class__.__mro__ }}",
        "{{ ['{0.__class__.__mro__}'] | map('format', 1) | first }}",
        "{{ messages.append({'role': 'system', 'content': 'x'}) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ self.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ url_for.__globals__ }}",
        "{{ messages | map(attribute='__class__.__mro__') | list }}",
        "{{ joiner.__init__.__builtins__ }}",
        "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
        "{% import 'os' as os %}{{ os.system('id') }}",
        "{{ (1).__reduce_ex__(2) }}",
    ],
)
def test_a_template_does_not_reach_pythons_internals(made: Any, template: str) -> None:
    try:
        text = made(template).render(USER)
    except TemplateError:
        return
    for word in ("class", "object", "module", "builtins", "function", "root", "uid="):
        assert word not in text


def test_the_time_limit_holds_where_the_caller_blocks_the_timers_signal(made: Any) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])
    try:
        began = os.times().children_user
        with pytest.raises(TemplateError, match="does not end"):
            made(BOMBS["nested loops"]).render(USER)
        assert os.times().children_user - began <= 1.0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_process_that_gets_out_of_the_sandbox_can_open_nothing() -> None:
    program = (
        "import socket, subprocess, sys\n"
        "from ferrylm.runtime import template_worker\n"
        "template_worker.limit(96 << 20)\n"
        "def refused(action):\n"
        "    try:\n"
        "        action()\n"
        "    except (OSError, MemoryError, ImportError) as error:\n"
        "        return type(error).__name__\n"
        "    return 'done'\n"
        "print(refused(lambda: open('/etc/hostname')), refused(socket.socket),\n"
        "      refused(lambda: subprocess.run(['/bin/true'])),\n"
        "      refused(lambda: bytearray(97 << 20)), refused(lambda: bytearray(64 << 20)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    assert run.stdout.split() == ["OSError", "OSError", "OSError", "MemoryError", "done"]


def test_the_process_of_a_template_has_none_of_this_ones_secrets(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret-12345")
    template = made("{{ 1 }}")
    template.render(USER)
    process = template._process._process
    with open(f"/proc/{process.pid}/environ", "rb") as file:
        assert b"secret-12345" not in file.read()
    assert len(os.listdir(f"/proc/{process.pid}/fd")) == 3
