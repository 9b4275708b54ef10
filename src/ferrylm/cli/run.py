"""`ferry run`: one prompt, one answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferrylm.cli.model_loading import check_chat_template
from ferrylm.cli.options import Placement, artifact_argument, placement_options
from ferrylm.cli.output import Output, common_options
from ferrylm.cli.sampling import Sampling, sampling_options
from ferrylm.errors import UsageError

if TYPE_CHECKING:
    from ferrylm.runtime.generation import TextStream
    from ferrylm.runtime.model import LanguageModel


@click.command("run")
@artifact_argument
@click.option("-p", "--prompt", help="What to ask; - or nothing reads stdin.")
@click.option("--system", help="System message before the prompt.")
@click.option("--raw", is_flag=True, help="No chat template: continue the prompt as it stands.")
@sampling_options
@placement_options
@common_options
@click.pass_obj
def run(
    output: Output,
    artifact: Path,
    prompt: str | None,
    system: str | None,
    raw: bool,
    sampling: Sampling,
    placement: Placement,
) -> None:
    """Answer one prompt.

    The text goes to stdout as it comes, one line of timings to stderr.
    """
    from ferrylm.cli.answer import INTERRUPTED, take_answer
    from ferrylm.cli.failures import INTERRUPTED as INTERRUPTED_CODE
    from ferrylm.cli.model_loading import load_model

    sampling.options()  # a bad value is refused before the model is loaded
    if raw and system is not None:
        raise UsageError(
            "--raw and --system",
            wanted="one of them: without a template there is no place for a system message",
            fix="leave one out",
        )
    text = _prompt_text(prompt)
    with load_model(output, artifact, placement) as model:
        taken = take_answer(
            _open_stream(model, text, system, raw, sampling),
            (lambda _: None) if output.as_json else (lambda piece: output.data(piece, end="")),
        )
        if output.as_json:
            output.json(taken.document())
        else:
            output.data("")
            output.note(taken.timing_line(model.context_length))
    if taken.finish_reason == INTERRUPTED:
        raise click.exceptions.Exit(INTERRUPTED_CODE)


def _prompt_text(prompt: str | None) -> str:
    if prompt is not None and prompt != "-":
        return prompt
    if prompt is None and sys.stdin.isatty():
        raise UsageError("no prompt", wanted="a text to answer", fix='give one with -p "TEXT"')
    from ferrylm.cli.stdin_text import read_all

    return read_all().rstrip("\r\n")


def _open_stream(
    model: LanguageModel, text: str, system: str | None, raw: bool, sampling: Sampling
) -> TextStream:
    prompt: str | list[dict[str, str]] = text
    if not raw:
        check_chat_template(model, fix="add --raw to have the prompt continued as it stands")
        prompt = [{"role": "user", "content": text}]
        if system is not None:
            prompt.insert(0, {"role": "system", "content": system})
    return model.stream(
        prompt,
        options=sampling.options(),
        max_tokens=sampling.max_tokens,
        stop=sampling.stop,
    )
