"""The artifact of a bundle: the same one, with the libraries of the chosen targets only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.errors import BundleError, UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import MANIFEST_NAME, FileEntry, Manifest, manifest_files
from ferrylm.runtime.manifest_json import to_json, with_artifact_id
from ferrylm.runtime.strict_json import dumps_canonical

FOLDER = "artifact"


def chosen_manifest(manifest: Manifest, targets: Sequence[str]) -> Manifest:
    """Return the manifest with the libraries of these kinds and targets; "all" keeps it as it is.

    Raises UsageError for a name without a library.
    """
    if "all" in targets:
        return manifest
    there = [library.target for library in manifest.libraries]
    for name in targets:
        if name not in there and name not in {library.kind for library in manifest.libraries}:
            raise UsageError(
                f"no library for {name!a} in the artifact",
                wanted="one of all, " + ", ".join(sorted({*there, *_kinds(manifest)})),
                fix="choose one of these with --target, or compile the model for that target",
            )
    kept = tuple(
        library
        for library in manifest.libraries
        if library.target in targets or library.kind in targets
    )
    return with_artifact_id(dataclasses.replace(manifest, libraries=kept))


def add_artifact(
    tree: BundleTree, artifact: Artifact, manifest: Manifest, *, weights: bool
) -> tuple[FileEntry, ...]:
    """Add the manifest and its files; return the files of weights that were left out.

    Their hashes are checked when the archive is written. Raises BundleError if one is missing.
    """
    apart = () if weights else manifest.weights.files
    for entry in dict.fromkeys(manifest_files(manifest)):
        if entry in apart:
            continue
        path = artifact.path / entry.path
        if not path.is_file() or path.is_symlink():
            raise BundleError(
                f"no file {entry.path} in {artifact.path}",
                wanted="a whole artifact",
                fix="compile the model again, or leave the weights out with --no-weights",
            )
        tree.add(f"{FOLDER}/{entry.path}", Member(path, sha256=entry.sha256))
    tree.add(f"{FOLDER}/{MANIFEST_NAME}", Member(dumps_canonical(to_json(manifest))))
    return apart


def device_kinds(manifest: Manifest) -> frozenset[str]:
    """Return the kinds of devices that the manifest has libraries for."""
    return frozenset(_kinds(manifest))


def _kinds(manifest: Manifest) -> list[str]:
    return [library.kind for library in manifest.libraries]
