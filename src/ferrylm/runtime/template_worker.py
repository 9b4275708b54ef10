"""The process that renders chat templates, run as a script with limits of its own.

A template is a program from a stranger. Jinja's sandbox keeps it from Python's internals, but
loops and multiplied strings can still eat all time and memory; only the operating system can
limit those. So this script imports nothing but jinja2, gives up its right to open files, to start
processes and to grow, and then answers one JSON request per line.

Started by template_process.py with sys.path as arguments. Line 1: {"template": str,
"memory_bytes": int, "cpu_s": float}. Every further line is one rendering, {"variables": {...},
"most_characters": int}; the answer is one line, {"text": str} or {"error": str}.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path[:] = sys.argv[1:]

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

MAX_ERROR_CHARACTERS = 500


class GenerationTag(jinja2.ext.Extension):
    """Accept `{% generation %}...{% endgeneration %}`, which marks answers for training only."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """Replace the block by what is inside it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as it is: jinja's own filter escapes for HTML, which models never saw."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message: str) -> NoReturn:
    """Let a template refuse its messages."""
    raise jinja2.TemplateError(message)


def strftime_now(form: str) -> str:
    """Give a template today's date."""
    return datetime.now().strftime(form)


def environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """Make the environment that Hugging Face's templates are written for."""
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", GenerationTag],
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = strftime_now
    return made


REHEARSAL = (
    "{% for x in ['\\n', 1.5] %}{{ x|tojson(indent=1) }}{% endfor %}{{ strftime_now('%c') }}"
)


def rehearse() -> None:
    """Make Python and jinja2 import now what they import late, while files can be opened."""
    environment().from_string(REHEARSAL + "{{ lipsum(1) }}").render()
    with suppress(jinja2.TemplateError):
        environment().from_string("{{ raise_exception('') }}").render()


def limit(memory_bytes: int) -> None:
    """Give up growth beyond `memory_bytes`, new files, sockets, processes and core dumps."""
    with open("/proc/self/statm", encoding="ascii") as file:
        held_bytes = int(file.read().split()[0]) * resource.getpagesize()
    for which, value in (
        (resource.RLIMIT_AS, held_bytes + memory_bytes),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(which)[1]  # which this process may only lower
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (lowest, lowest))


def render(template: jinja2.Template, variables: dict[str, Any], most_characters: int) -> str:
    """Return the text, which is measured while it grows."""
    pieces, length = [], 0
    for piece in template.generate(variables):
        length += len(piece)
        if length > most_characters:
            raise jinja2.TemplateError(f"it writes more than {most_characters} characters")
        pieces.append(piece)
    return "".join(pieces)


def answer(action: Callable[[], str]) -> None:
    """Write what `action` returns, or why it failed, as one line."""
    try:
        reply = {"text": action()}
    except jinja2.TemplateSyntaxError as problem:
        reply = {"error": f"line {problem.lineno}: {problem.message}"}
    except jinja2.TemplateError as problem:
        reply = {"error": str(problem.message)}
    except MemoryError:
        reply = {"error": "it needs too much memory"}
    except Exception as problem:
        reply = {"error": f"{type(problem).__name__}: {problem}"}
    if "error" in reply:
        reply["error"] = reply["error"][:MAX_ERROR_CHARACTERS]
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Compile the template of the first line, then render it once per further line."""
    setup = json.loads(sys.stdin.readline())
    rehearse()
    limit(setup["memory_bytes"])
    # The timer's signal ends the process whatever it is doing, inherited settings or not.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    compiled: list[jinja2.Template] = []

    def act(line: str) -> str:
        if not compiled:
            compiled.append(environment().from_string(setup["template"]))
        request = json.loads(line)
        return render(compiled[0], request["variables"], request["most_characters"])

    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, setup["cpu_s"])
        answer(partial(act, line))
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
