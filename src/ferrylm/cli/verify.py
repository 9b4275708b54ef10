"""`ferry verify`: whether an artifact is whole and computes here what it computed there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferrylm.cli.options import (
    Placement,
    artifact_argument,
    placement_options,
)
from ferrylm.cli.output import Output, common_options

if TYPE_CHECKING:
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.progress import ProgressCallback
    from ferrylm.runtime.verification import Check


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

    checks: list[Check] = []
    with Artifact.open(artifact) as opened:
        check_target(opened.manifest, placement.target)
        with output.progress() as progress:
            checks.extend(check_files(opened, progress))
        whole = all(check.passed for check in checks)
        if whole and not files_only:  # a library whose hash differs is never opened
            with output.progress() as progress:
                checks.extend(_replay(opened, placement, progress))
    passed = all(check.passed for check in checks)
    if output.as_json:
        output.json({"passed": passed, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            _show(check, output)
        counted = sum(not check.passed for check in checks)
        output.data(f"{len(checks)} checks, {counted} differ" if counted else
                    f"{len(checks)} checks, all passed")  # fmt: skip
    if not passed:
        raise click.exceptions.Exit(1)


def check_files(artifact: Artifact, progress: ProgressCallback) -> Iterator[Check]:
    """Hash every file of the artifact, going on past those that differ."""
    from ferrylm.errors import IntegrityError
    from ferrylm.runtime.manifest import manifest_files
    from ferrylm.runtime.progress import Progress
    from ferrylm.runtime.verification import Check

    entries = tuple(dict.fromkeys(manifest_files(artifact.manifest)))
    total, done = sum(entry.size_bytes for entry in entries), 0
    for entry in entries:
        try:
            artifact.verify_file(entry)
        except IntegrityError as error:
            yield Check(f"file {entry.path}", False, str(error))
        else:
            yield Check(f"file {entry.path}", True, f"SHA-256 {entry.sha256[:16]}")
        done += entry.size_bytes
        progress(Progress("hash files", done, total, "B"))


def _replay(artifact: Artifact, placement: Placement, progress: ProgressCallback) -> list[Check]:
    from ferrylm.runtime import verification

    return list(verification.verify(artifact, placement, progress))


def _show(check: Check, output: Output) -> None:
    from rich.text import Text

    mark, style = ("ok", "green") if check.passed else ("differs", "bold red")
    text = Text.assemble((f"{mark:<7}", style), f"  {check.name}  {check.detail}")
    output.stdout().print(text, soft_wrap=True)
