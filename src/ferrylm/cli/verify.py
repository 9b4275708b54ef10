"""`ferry verify`: whether an artifact is whole and computes here what it computed there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferrylm.cli.options import Placement, artifact_argument, placement_options
from ferrylm.cli.output import Output, common_options

if TYPE_CHECKING:
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.progress import ProgressCallback

NOT_REPLAYED = "no golden data in this artifact: only its files were checked"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    name: str
    passed: bool
    detail: str


@click.command("verify")
@artifact_argument
@click.option("--files-only", is_flag=True, help="Check the hashes of the files, run nothing.")
@placement_options
@common_options
@click.pass_obj
def verify(output: Output, artifact: Path, files_only: bool, placement: Placement) -> None:
    """Check an artifact's files and results.

    Hashes every file, then replays the golden kernel vectors and the greedy trace. Exit code 1 if
    anything differs; each difference is named.
    """
    from ferrylm.cli.model_loading import check_target
    from ferrylm.runtime.artifact import Artifact

    findings: list[Finding] = []
    with Artifact.open(artifact) as opened:
        check_target(opened.manifest, placement.target)
        golden = opened.manifest.golden is not None and not files_only
        with output.progress() as progress:
            findings.extend(check_files(opened, progress))
            # A library whose hash differs is never opened.
            if golden and all(finding.passed for finding in findings):
                findings.extend(_replay(opened, placement, progress))
    passed = all(finding.passed for finding in findings)
    if output.as_json:
        document = {"passed": passed, "golden": golden}
        output.json({**document, "checks": [asdict(finding) for finding in findings]})
    else:
        _show(findings, output)
        if not golden and not files_only:
            output.note(NOT_REPLAYED)
    if not passed:
        raise click.exceptions.Exit(1)


def check_files(artifact: Artifact, progress: ProgressCallback) -> Iterator[Finding]:
    """Hash every file of the artifact, going on past those that differ."""
    from ferrylm.errors import IntegrityError
    from ferrylm.runtime.manifest import manifest_files
    from ferrylm.runtime.progress import Progress

    entries = tuple(dict.fromkeys(manifest_files(artifact.manifest)))
    total, done = sum(entry.size_bytes for entry in entries), 0
    for entry in entries:
        try:
            artifact.verify_file(entry)
        except IntegrityError as error:
            yield Finding(f"file {entry.path}", False, str(error))
        else:
            yield Finding(f"file {entry.path}", True, f"SHA-256 {entry.sha256[:16]}")
        done += entry.size_bytes
        progress(Progress("hash files", done, total, "B"))


def _replay(artifact: Artifact, placement: Placement, progress: ProgressCallback) -> list[Finding]:
    from ferrylm.runtime import verification

    checks = verification.verify(
        artifact,
        device=placement.device,
        target=placement.target,
        threads=placement.threads,
        progress=progress,
    )
    return [Finding(check.name, check.passed, check.detail) for check in checks]


def _show(findings: list[Finding], output: Output) -> None:
    from rich.text import Text

    for finding in findings:
        mark, style = ("ok", "green") if finding.passed else ("differs", "bold red")
        text = Text.assemble((f"{mark:<7}", style), f"  {finding.name}  {finding.detail}")
        output.stdout().print(text, soft_wrap=True)
    differing = sum(not finding.passed for finding in findings)
    result = f"{differing} differ" if differing else "all passed"
    output.data(f"{len(findings)} checks, {result}")
