"""The artifact in a bundle: only the libraries that were asked for, weights or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferrylm.bundle.artifact_part import add_artifact, chosen_manifest, device_kinds
from ferrylm.bundle.tree import BundleTree
from ferrylm.errors import BundleError, UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest_json import from_json
from ferrylm.runtime.strict_json import loads


def paths_of(artifact: Artifact, targets: tuple[str, ...], *, weights: bool = True) -> set[str]:
    """Return the paths of a bundle's artifact."""
    tree = BundleTree()
    add_artifact(tree, artifact, chosen_manifest(artifact.manifest, targets), weights=weights)
    return {path.removeprefix("artifact/") for path, _ in tree.items()}


def test_all_targets_leave_the_artifact_as_it_is(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        assert chosen_manifest(artifact.manifest, ("all",)) is artifact.manifest
        assert paths_of(artifact, ("all",)) == {
            path.name for path in sample.iterdir() if path.name != ".lock"
        }


def test_only_the_libraries_of_the_chosen_targets_go_along(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        first, *others = artifact.manifest.libraries
        assert others
        paths = paths_of(artifact, (first.target,))
    assert first.file.path in paths
    assert paths.isdisjoint(library.file.path for library in others)


def test_the_reduced_manifest_is_one_that_can_be_opened(sample: Path, tmp_path: Path) -> None:
    with Artifact.open(sample) as artifact:
        target = artifact.manifest.libraries[0].target
        tree = BundleTree()
        manifest = chosen_manifest(artifact.manifest, (target,))
        add_artifact(tree, artifact, manifest, weights=True)
    written = dict(tree.items())["artifact/manifest.json"].read()
    assert from_json(loads(written, what="manifest.json")) == manifest
    assert manifest.artifact_id != artifact.manifest.artifact_id
    assert device_kinds(manifest) == {target.partition("-")[0]}


def test_without_weights_the_shards_stay_behind_and_are_reported(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        tree = BundleTree()
        apart = add_artifact(tree, artifact, artifact.manifest, weights=False)
        assert apart == artifact.manifest.weights.files
    assert all(f"artifact/{entry.path}" not in tree for entry in apart)


def test_an_unknown_target_is_answered_with_those_that_are_there(sample: Path) -> None:
    with Artifact.open(sample) as artifact, pytest.raises(UsageError) as caught:
        chosen_manifest(artifact.manifest, ("metal",))
    assert artifact.manifest.libraries[0].target in caught.value.wanted


def test_a_missing_file_is_found_before_anything_is_written(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        (sample / artifact.manifest.weights.files[0].path).unlink()
        with pytest.raises(BundleError, match="weights-00000"):
            paths_of(artifact, ("all",))
        paths_of(artifact, ("all",), weights=False)
