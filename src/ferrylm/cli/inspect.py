"""`ferry inspect`: what an artifact holds and what it needs."""

from __future__ import annotations

from pathlib import Path

import click

from ferrylm.cli.options import artifact_argument, context_option, device_option, target_option
from ferrylm.cli.output import Output, common_options


@click.command("inspect")
@artifact_argument
@click.option("--explain", is_flag=True, help="Say which library runs here, and by which rule.")
@context_option
@device_option
@target_option
@common_options
@click.pass_obj
def inspect_verb(
    output: Output,
    artifact: Path,
    explain: bool,
    context: int | None,
    device: str,
    target: str | None,
) -> None:
    """Show what an artifact holds.

    Model, quantization, files, libraries and memory. Only the manifest is read; `ferry verify`
    checks the files.
    """
    from ferrylm.cli.inspect_report import describe, show
    from ferrylm.cli.model_loading import check_target
    from ferrylm.runtime.artifact import Artifact

    with Artifact.open(artifact) as opened:
        check_target(opened.manifest, target)
        report = describe(
            opened.manifest, str(artifact), context_tokens=context, device=device, target=target
        )
    if output.as_json:
        output.json(report.document())
    else:
        show(report, output.stdout(), explain=explain)
