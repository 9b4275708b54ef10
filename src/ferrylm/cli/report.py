"""`ferry report`: the kernels of an artifact as one HTML file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferrylm.cli.bench_kernels import DEFAULT_DEPTH, KernelRequest, measure_kernels
from ferrylm.cli.options import artifact_argument, device_option, target_option, threads_option
from ferrylm.cli.output import Output, common_options
from ferrylm.errors import UsageError

if TYPE_CHECKING:
    from ferrylm.report.measurement import Measurement


@click.command("report")
@artifact_argument
@click.option(
    "-o",
    "--output",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The HTML file to write.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Show these times, written by ferry bench --kernels --json, and run nothing.",
)
@click.option(
    "-p",
    "--n-prompt",
    type=click.IntRange(0),
    default=512,
    show_default=True,
    help="Tokens of the prompt, at most one chunk; 0 for none.",
)
@click.option(
    "-d",
    "--n-depth",
    type=click.IntRange(0),
    default=DEFAULT_DEPTH,
    show_default=True,
    help="Tokens already in the context.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    help="Sequences of the decode step.",
)
@click.option(
    "-r",
    "--repetitions",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="How often each launch is timed.",
)
@click.option(
    "--bandwidth",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB/S",
    help="The device's bandwidth, instead of measuring it.",
)
@threads_option
@device_option
@target_option
@common_options
@click.pass_obj
def report(
    output: Output,
    artifact: Path,
    page: Path,
    source: Path | None,
    n_prompt: int,
    n_depth: int,
    batch: int,
    repetitions: int,
    bandwidth: float | None,
    threads: int | None,
    device: str,
    target: str | None,
) -> None:
    """Draw where the time of a step goes.

    Times every kernel of a decode step and of a prompt, as ferry bench --kernels does, and writes
    one HTML file that needs no network and no other file: the launches in their order, a
    roofline, a map of the memory, and all figures.
    """
    from ferrylm.report.page import report_page

    if not page.parent.is_dir():
        raise UsageError(
            f"no folder {str(page.parent)!a}", wanted="an existing one", fix="make it, or change -o"
        )
    if source is not None:
        found = _read(artifact, source)
    else:
        request = KernelRequest(
            artifact,
            prompt_tokens=n_prompt,
            decode=True,
            depths=(n_depth,),
            batch=batch,
            threads=threads,
            repetitions=repetitions,
            device=device,
            target=target,
            bandwidth_gb_s=bandwidth,
        )
        found = measure_kernels(request, output)
    size_bytes = _write(page, report_page(found))
    if output.as_json:
        output.json({"report": str(page), "size_bytes": size_bytes, "device": found.device})
    else:
        output.note(f"wrote {page}, {size_bytes / 1e3:.0f} kB")


def _read(artifact: Path, source: Path) -> Measurement:
    """Return the times of a file, which must be this artifact's."""
    from ferrylm.report.measurement import read_measurement
    from ferrylm.runtime.artifact import Artifact

    found = read_measurement(source.read_bytes(), what=source.name)
    with Artifact.open(artifact) as opened:
        wanted = opened.manifest.artifact_id
    if found.artifact_id != wanted:
        raise UsageError(
            f"{source.name} has the times of the artifact {found.artifact_id[:12]!a}",
            wanted=f"those of {wanted[:12]}",
            fix="name the artifact that was measured, or measure this one",
        )
    return found


def _write(page: Path, text: str) -> int:
    """Write the file as a whole or not at all; return its size."""
    data = text.encode()
    handle, name = tempfile.mkstemp(dir=page.parent, prefix=page.name, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(page)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return len(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
