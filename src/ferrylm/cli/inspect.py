"""`ferry inspect`: what an artifact holds and what it needs."""

from __future__ import annotations

from pathlib import Path

import click

from ferrylm.cli.options import artifact_argument, context_option, device_option, target_option
from ferrylm.cli.output import Output, common_options


@click.command("inspect")
@artifact_argument
@click.option("--explain", is_flag=True, help="Say which library runs here, and by which rule.")
@click.option(
    "--isa",
    is_flag=True,
    help="Compile the Vulkan kernels for the Steam Deck; show registers, spills, instructions.",
)
@context_option
@device_option
@target_option
@common_options
@click.pass_obj
def inspect_verb(
    output: Output,
    artifact: Path,
    explain: bool,
    isa: bool,
    context: int | None,
    device: str,
    target: str | None,
) -> None:
    """Show what an artifact holds.

    Model, quantization, files, libraries and memory. Only the manifest is read, and with --isa the
    libraries; `ferry verify` checks the files. --isa needs Mesa's RADV and no AMD hardware.
    """
    from ferrylm.cli.inspect_isa import isa_document, isa_reports, show_isa
    from ferrylm.cli.inspect_report import describe, show
    from ferrylm.cli.model_loading import check_target
    from ferrylm.runtime.artifact import Artifact

    with Artifact.open(artifact) as opened:
        check_target(opened.manifest, target)
        report = describe(
            opened.manifest, str(artifact), context_tokens=context, device=device, target=target
        )
        kernels = isa_reports(opened) if isa else []
    if output.as_json:
        output.json(report.document() | (isa_document(kernels) if isa else {}))
        return
    show(report, output.stdout(), explain=explain)
    if isa:
        show_isa(kernels, output.stdout())
