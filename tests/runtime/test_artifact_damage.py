from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import (
    SPECS,
    change_manifest,
    write_sample,
)
from file_damage import DAMAGES, Damage, flip_last_bit

from ferrylm.errors import IntegrityError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import FileEntry, manifest_files


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    write_sample(tmp_path / "sample")
    return tmp_path / "sample"


def use(folder: Path, entry: FileEntry) -> None:
    """Do with one file what the runtime would do with it."""
    with Artifact.open(folder) as artifact:
        weights = artifact.manifest.weights
        if entry in weights.files:
            index = weights.files.index(entry)
            artifact.read_tensor(next(t.name for t in weights.tensors if t.file == index))
        elif entry in [library.file for library in artifact.manifest.libraries]:
            with artifact.library_path(entry):
                pass
        else:
            artifact.read_verified(entry, 1 << 20)


def entries_of(folder: Path) -> tuple[FileEntry, ...]:
    with Artifact.open(folder) as artifact:
        return manifest_files(artifact.manifest)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.timeout(20)
def test_every_damaged_file_is_refused_before_use(sample: Path, damage: Damage) -> None:
    for entry in entries_of(sample):
        copied = sample.with_name("copy")
        shutil.copytree(sample, copied)
        damage(copied / entry.path)
        with pytest.raises(IntegrityError, match=entry.path):
            use(copied, entry)
        with Artifact.open(copied) as artifact:
            with pytest.raises(IntegrityError, match=entry.path):
                artifact.verify_file(entry)
            with pytest.raises(IntegrityError, match=entry.path):
                artifact.verify_all()
            for other in manifest_files(artifact.manifest):
                if other != entry:
                    artifact.verify_file(other)
        shutil.rmtree(copied)


def test_every_flipped_bit_of_a_shard_is_found(sample: Path) -> None:
    entry = entries_of(sample)[0]
    data = (sample / entry.path).read_bytes()
    generator = random.Random(5)
    for _ in range(500):
        damaged = bytearray(data)
        damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        (sample / entry.path).write_bytes(damaged)
        with Artifact.open(sample) as artifact, pytest.raises(IntegrityError):
            artifact.read_tensor(SPECS[0].name)


def test_a_shard_cut_anywhere_is_found(sample: Path) -> None:
    entry = entries_of(sample)[0]
    for size in range(entry.size_bytes - 1, -1, -97):
        os.truncate(sample / entry.path, size)
        with Artifact.open(sample) as artifact, pytest.raises(IntegrityError):
            artifact.read_tensor(SPECS[0].name)


def test_swapped_shards_are_found(sample: Path) -> None:
    first, second = entries_of(sample)[:2]
    (sample / first.path).rename(sample / "x")
    (sample / second.path).rename(sample / first.path)
    (sample / "x").rename(sample / second.path)
    for entry in (first, second):
        with pytest.raises(IntegrityError):
            use(sample, entry)


def test_the_library_of_another_artifact_is_found(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "other", seed=1)
    mine, other = (
        next(entry for entry in entries_of(folder) if entry.path.endswith(".so"))
        for folder in (sample, tmp_path / "other")
    )
    assert mine.size_bytes == other.size_bytes
    shutil.copy(tmp_path / "other" / other.path, sample / mine.path)
    with pytest.raises(IntegrityError, match="SHA-256"):
        use(sample, mine)


def test_a_shard_with_the_right_hash_but_other_tensors_is_refused(sample: Path) -> None:
    """The manifest is forged with care: its id fits, and only the shard's header disagrees."""
    index = [spec.name for spec in SPECS].index("layers.0.qkv.scale")
    for field, new in (
        ("name", "layers.0.qkv.other"),
        ("dtype", "int16"),
        ("shape", [96]),
        ("file", 0),
    ):
        copied = sample.with_name("copy")
        shutil.copytree(sample, copied)
        if field == "name":
            change_manifest(copied, ("libraries", 0, "parameters"), [])
            change_manifest(copied, ("libraries", 1, "parameters"), [])
        change_manifest(copied, ("weights", "tensors", index, field), new)
        with Artifact.open(copied) as artifact:
            name = artifact.manifest.weights.tensors[index].name
            with pytest.raises(IntegrityError, match="as the manifest says"):
                artifact.read_tensor(name)
        shutil.rmtree(copied)


def test_a_size_that_the_manifest_only_claims_takes_no_memory(sample: Path) -> None:
    change_manifest(sample, ("golden", "size_bytes"), 2**62)
    with Artifact.open(sample) as artifact:
        assert artifact.manifest.golden is not None
        with pytest.raises(IntegrityError, match="has 6 bytes"):
            artifact.read_verified(artifact.manifest.golden, 2**63)


def test_a_file_above_the_callers_limit_is_not_read(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        assert artifact.manifest.golden is not None
        with pytest.raises(IntegrityError, match="6 bytes; wanted at most 5"):
            artifact.read_verified(artifact.manifest.golden, 5)


def test_a_shard_that_changes_after_its_hash_is_found(sample: Path) -> None:
    entry = entries_of(sample)[0]
    with Artifact.open(sample) as artifact:
        artifact.read_tensor(SPECS[0].name)
        flip_last_bit(sample / entry.path)
        with pytest.raises(IntegrityError, match="changed while it was read"):
            artifact.read_tensor(SPECS[0].name)


def test_a_shard_that_is_cut_after_its_hash_ends_in_an_error_and_not_in_a_signal(
    sample: Path,
) -> None:
    entry = entries_of(sample)[0]
    with Artifact.open(sample) as artifact:
        artifact.read_tensor(SPECS[0].name)
        os.truncate(sample / entry.path, 100)
        with pytest.raises(IntegrityError, match="changed while it was read"):
            artifact.read_tensor(SPECS[0].name)


def test_a_shard_that_is_replaced_after_its_hash_stays_the_one_that_was_hashed(
    sample: Path,
) -> None:
    entry = entries_of(sample)[0]
    with Artifact.open(sample) as artifact:
        before = artifact.read_tensor(SPECS[0].name)
        (sample / "new").write_bytes(bytes(entry.size_bytes))
        (sample / "new").rename(sample / entry.path)
        np.testing.assert_array_equal(artifact.read_tensor(SPECS[0].name), before)
