"""Open an artifact for generation, with progress and a hint for a mistyped target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ferrylm.cli.hints import closest
from ferrylm.cli.options import Placement
from ferrylm.cli.output import Output
from ferrylm.errors import NoLibraryError, TemplateError

if TYPE_CHECKING:
    from ferrylm.runtime.manifest import Manifest
    from ferrylm.runtime.model import LanguageModel


def load_model(output: Output, path: Path, placement: Placement) -> LanguageModel:
    """Load an artifact; see `ferrylm.load` for what it raises."""
    import ferrylm

    if placement.target is not None:
        from ferrylm.runtime.artifact import Artifact

        with Artifact.open(path) as artifact:
            check_target(artifact.manifest, placement.target)
    with output.progress() as progress:
        return ferrylm.load(
            path,
            device=placement.device,
            target=placement.target,
            threads=placement.threads,
            context_length=placement.context,
            progress=progress,
        )


def check_chat_template(model: LanguageModel, *, fix: str) -> None:
    """Refuse to converse with a model that has no form for it. Raises TemplateError."""
    if model.chat_template is None:
        raise TemplateError(
            "a model without a chat template",
            wanted="one that was trained for conversations",
            fix=fix,
        )


def check_target(manifest: Manifest, target: str | None) -> None:
    """Refuse a target that the artifact has no library for, with the one it resembles.

    Raises NoLibraryError.
    """
    known = [library.target for library in manifest.libraries]
    if target is None or target in known:
        return
    guess = closest(target, known)
    raise NoLibraryError(
        f"{manifest.name} has no library for the target {target!a}",
        wanted="one of " + (", ".join(known) or "none"),
        fix=f"did you mean {guess}?" if guess else "compile the model for that target",
    )
