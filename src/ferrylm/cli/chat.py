"""`ferry chat`: a conversation, at a terminal or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from ferrylm.cli.options import Placement, artifact_argument, placement_options
from ferrylm.cli.output import Output, common_options
from ferrylm.cli.sampling import Sampling, sampling_options

_PROMPT = "> "


@click.command("chat")
@artifact_argument
@click.option("--system", help="System message of the conversation.")
@sampling_options
@placement_options
@common_options
@click.pass_obj
def chat(
    output: Output, artifact: Path, system: str | None, sampling: Sampling, placement: Placement
) -> None:
    """Talk to a model.

    /help lists what can be said to the program itself. Ctrl-C ends an answer, Ctrl-D or /exit the
    conversation. Lines may come through a pipe; with --json each answer is one line of JSON.
    """
    from ferrylm.cli.chat_session import ChatSession
    from ferrylm.cli.model_loading import check_chat_template, load_model

    sampling.options()  # a bad value is refused before the model is loaded
    with load_model(output, artifact, placement) as model:
        check_chat_template(model, fix="use `ferry run --raw` to have a text continued")
        session = ChatSession(model, output, sampling, system)
        at_terminal = sys.stdin.isatty()
        if at_terminal:
            output.note("/help lists the commands; Ctrl-C ends an answer, Ctrl-D the conversation")
        failed = converse(session.handle, _terminal_line if at_terminal else _piped_line, output)
    if failed and not at_terminal:
        raise click.exceptions.Exit(1)


def converse(
    handle: Callable[[str], bool], next_line: Callable[[], str | None], output: Output
) -> bool:
    """Handle lines until there are none or `handle` says no more; return whether one failed.

    An error ends its line, not the conversation.
    """
    from ferrylm.cli.failures import show_failure
    from ferrylm.errors import FerryError

    failed = False
    while True:
        try:
            line = next_line()
            if line is None or not handle(line):
                return failed
        except FerryError as error:
            failed = True
            show_failure(error, output, among_lines=True)


def _piped_line() -> str | None:
    from ferrylm.cli.stdin_text import read_line

    return read_line()


def _terminal_line() -> str | None:
    import readline  # noqa: F401 (gives input() its line editing and history)

    while True:
        try:
            return input(_PROMPT)
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print("\n(Ctrl-D or /exit ends the conversation)")
