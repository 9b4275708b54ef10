"""Where the command line writes: data to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from ferrylm.runtime.progress import ProgressCallback

PIPE_COLUMNS = 240  # tables for a file or another program need not be folded

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Output:
    """How much to say and in which form; the options that every verb has set it."""

    as_json: bool = False
    quiet: bool = False
    debug: bool = False

    def data(self, text: str, *, end: str = "\n") -> None:
        """Write what was asked for to stdout, at once, so that a reader sees it as it comes."""
        sys.stdout.write(text + end)
        sys.stdout.flush()

    def json(self, value: object) -> None:
        """Write one JSON document to stdout."""
        self.data(json.dumps(value, ensure_ascii=False, indent=2))

    def json_line(self, value: object) -> None:
        """Write one JSON document on a line of its own, for verbs that print several."""
        self.data(json.dumps(value, ensure_ascii=False))

    def note(self, text: str) -> None:
        """Write one grey line to stderr, unless --quiet."""
        if not self.quiet:
            from rich.text import Text

            self.stderr().print(Text(text, style="bright_black"), soft_wrap=True)

    def stderr(self) -> Console:
        """Return a rich console on stderr; it honours NO_COLOR and plain pipes by itself."""
        return _console(stderr=True)

    def stdout(self) -> Console:
        """Return a rich console on stdout, for tables."""
        return _console(stderr=False)

    @contextlib.contextmanager
    def progress(self) -> Iterator[ProgressCallback]:
        """Yield a progress callback that draws bars on a terminal and is silent elsewhere."""
        from ferrylm.runtime.progress import ignore_progress

        console = self.stderr()
        if self.quiet or self.as_json or not console.is_terminal:
            yield ignore_progress
            return
        from ferrylm.cli.progress_bars import ProgressBars

        with ProgressBars(console) as bars:
            yield bars.report


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.ensure_object(Output).as_json |= value


def _set_quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.ensure_object(Output).quiet |= value


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.ensure_object(Output).debug |= value


def common_options(function: Function) -> Function:
    """Give a verb --json, --quiet and --debug; they end in the context's Output."""
    options = [
        click.option("--json", is_flag=True, expose_value=False, callback=_set_json,
                     help="Write one JSON document to stdout."),
        click.option("--quiet", "-q", is_flag=True, expose_value=False, callback=_set_quiet,
                     help="No progress, no timings."),
        click.option("--debug", is_flag=True, expose_value=False, callback=_set_debug,
                     help="Show the traceback of an error."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function
