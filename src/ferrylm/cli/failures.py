"""Turn whatever ended a verb into one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import click

from ferrylm.cli.output import Output
from ferrylm.errors import FerryError, UsageError

INTERRUPTED = 130


class UnexpectedError(FerryError):
    """A defect of ferry itself, as the user is shown it."""


def report_failure(error: BaseException, output: Output) -> int:
    """Show `error` and return the exit code of the process."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
        return 1
    failure = as_ferry_error(error)
    if output.debug:
        traceback.print_exception(error)
    show_failure(failure, output)
    return failure.exit_code


def as_ferry_error(error: BaseException) -> FerryError:
    """Return the typed error that says the same, if `error` is not one already."""
    if isinstance(error, FerryError):
        return error
    if isinstance(error, click.ClickException):
        return _usage_error(error)
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return FerryError(
            f"{error.strerror}{place}",
            wanted="a file or folder that can be read and written",
            fix="check the path, its permissions and the free disk space",
        )
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("ferrylm"):
        return FerryError(
            f"the Python module {error.name} is not installed",
            wanted="all modules that this verb needs",
            fix="run `pip install 'ferrylm[compile]'`, then `ferry doctor`",
        )
    if isinstance(error, MemoryError):
        return FerryError(
            "no memory left",
            wanted="room for the model and its context",
            fix="close other programs, or take a smaller context with --context",
        )
    message = " ".join(str(error).split()) or "no message"
    return UnexpectedError(
        f"unexpected {type(error).__name__}: {message}",
        wanted="no such thing to happen",
        fix="please report it; run again with --debug for the traceback",
    )


def _usage_error(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if isinstance(context, click.Context) else "ferry"
    return UsageError(
        " ".join(error.format_message().split()).rstrip("."),
        wanted=f"what `{command} --help` lists",
        fix="correct the command line",
    )


def show_failure(failure: FerryError, output: Output, *, among_lines: bool = False) -> None:
    """Write the error as one line to stderr, and with --json as a document to stdout.

    `among_lines` keeps the document on one line.
    """
    from rich.text import Text

    line = Text("error: ", style="bold red").append(one_line(failure), style="not bold default")
    output.stderr().print(line, soft_wrap=True)
    if output.as_json:
        write = output.json_line if among_lines else output.json
        write({"error": failure_document(failure)})


def one_line(failure: FerryError) -> str:
    """Return the error's sentence without the line breaks that found text may carry."""
    return " ".join(str(failure).split())


def failure_document(failure: FerryError) -> dict[str, str]:
    """Return what `--json` prints of an error."""
    return {
        "code": failure.code,
        "message": one_line(failure),
        "found": failure.found,
        "wanted": failure.wanted,
        "fix": failure.fix,
    }


def _forget_stdout() -> None:
    """Point stdout at nothing: the interpreter flushes it once more at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass
