from __future__ import annotations

import dataclasses
import hashlib
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from artifact_samples import (
    SPECS,
    add_sample_files,
    entry_of,
    tensor_values,
    weight_plan,
    write_sample,
)
from safetensors.numpy import load_file

from ferrylm.compile.artifact_writer import ArtifactWriter
from ferrylm.compile.weight_plan import TensorSpec, plan_weights
from ferrylm.errors import ArtifactError, CompileError, DiskSpaceError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import Manifest, manifest_files


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def check_whole(folder: Path, manifest: Manifest) -> None:
    """Check that a folder holds this artifact, all of it, and nothing else."""
    with Artifact.open(folder) as artifact:
        artifact.verify_all()
        assert artifact.manifest == manifest
    named = {entry.path for entry in manifest_files(manifest)}
    assert {file.name for file in folder.iterdir()} == {*named, "manifest.json"}


def test_a_committed_artifact_holds_the_named_files_and_nothing_else(tmp_path: Path) -> None:
    manifest = write_sample(tmp_path / "deep" / "down" / "new")
    check_whole(tmp_path / "deep" / "down" / "new", manifest)
    for entry in manifest_files(manifest):
        assert entry.sha256[:16] in entry.path


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    write_sample(tmp_path / "a")
    write_sample(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    write_sample(tmp_path / "a", seed=1)
    assert contents(tmp_path / "a") != contents(tmp_path / "b")
    write_sample(tmp_path / "a")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_shards_are_what_the_reference_reader_expects(tmp_path: Path) -> None:
    manifest = write_sample(tmp_path / "x")
    assert len(manifest.weights.files) == 2
    read: dict[str, np.ndarray] = {}
    for entry in manifest.weights.files:
        read |= load_file(tmp_path / "x" / entry.path)
    assert set(read) == {spec.name for spec in SPECS}
    for name, wanted in tensor_values():
        assert read[name].dtype == wanted.dtype
        np.testing.assert_array_equal(read[name], wanted)


def test_a_new_commit_replaces_the_artifact_and_removes_what_it_no_longer_names(
    tmp_path: Path,
) -> None:
    old = write_sample(tmp_path / "x")
    kept = {entry.path for entry in manifest_files(old) if "weights" not in entry.path}
    before = {name: (tmp_path / "x" / name).stat().st_ino for name in kept}
    new = write_sample(tmp_path / "x", seed=1)
    check_whole(tmp_path / "x", new)
    for entry in manifest_files(new):
        if entry in manifest_files(old):
            inode = (tmp_path / "x" / entry.path).stat().st_ino
            assert inode == before[entry.path], "an equal file is used again, not written again"


def test_files_of_strangers_are_left_alone(tmp_path: Path) -> None:
    write_sample(tmp_path / "x")
    strangers = {
        "README.md": b"mine",
        "photo-0123456789abcdef.jpg": b"named like one of ours",
        ".hidden": b"mine",
        "weights.safetensors": b"mine",
    }
    for name, data in strangers.items():
        (tmp_path / "x" / name).write_bytes(data)
    (tmp_path / "x" / "folder-0123456789abcdef").mkdir()
    write_sample(tmp_path / "x", seed=1)
    (tmp_path / "x" / "folder-0123456789abcdef").rmdir()
    left = contents(tmp_path / "x")
    assert strangers.items() <= left.items()


def test_what_a_killed_writer_published_is_removed_by_the_next_commit(tmp_path: Path) -> None:
    write_sample(tmp_path / "x")
    orphan = entry_of("cpu-old", ".so", b"never committed")
    (tmp_path / "x" / orphan.path).write_bytes(b"never committed")
    (tmp_path / "x" / ".ferry-7.tmp").write_bytes(b"half")
    (tmp_path / "x" / "manifest.json.tmp").write_bytes(b"half")
    check_whole(tmp_path / "x", write_sample(tmp_path / "x", seed=1))


def test_a_damaged_published_file_is_written_anew(tmp_path: Path) -> None:
    old = write_sample(tmp_path / "x")
    for entry in manifest_files(old):
        (tmp_path / "x" / entry.path).write_bytes(b"damaged")
    check_whole(tmp_path / "x", write_sample(tmp_path / "x"))


def test_a_folder_with_a_damaged_manifest_can_be_compiled_again(tmp_path: Path) -> None:
    write_sample(tmp_path / "x")
    file = tmp_path / "x" / "manifest.json"
    file.write_bytes(file.read_bytes()[:-50])
    check_whole(tmp_path / "x", write_sample(tmp_path / "x", seed=1))


class Stop(Exception):
    pass


@pytest.mark.parametrize("old", [False, True])
def test_a_writer_that_fails_leaves_everything_as_it_was(tmp_path: Path, old: bool) -> None:
    if old:
        write_sample(tmp_path / "x")
    before = contents(tmp_path / "x") if old else None
    with pytest.raises(Stop), ArtifactWriter(tmp_path / "x") as writer:  # noqa: PT012
        add_sample_files(writer, seed=1)
        add_sample_files(writer, seed=0)  # the same as the files of the old artifact
        raise Stop
    assert (contents(tmp_path / "x") if old else None) == before
    assert (tmp_path / "x").exists() == old


def test_a_writer_that_never_commits_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "x") as writer:
        add_sample_files(writer)
    assert not (tmp_path / "x").exists()


def test_a_producer_that_fails_in_the_middle_of_a_shard_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, np.ndarray]]:
        for name, values in tensor_values():
            if name == "layers.0.qkv.codes":
                raise Stop
            yield name, values

    with pytest.raises(Stop), ArtifactWriter(tmp_path / "x") as writer:
        writer.add_weights(weight_plan(), broken())
    assert not (tmp_path / "x").exists()


WRONG = {
    "a missing tensor": lambda pairs: pairs[:-1],
    "a tensor too many": lambda pairs: [*pairs, ("more", np.zeros(1))],
    "another order": lambda pairs: pairs[::-1],
    "another name": lambda pairs: [("x", pairs[0][1]), *pairs[1:]],
    "another shape": lambda pairs: [(pairs[0][0], pairs[0][1].T), *pairs[1:]],
    "another dtype": lambda pairs: [(pairs[0][0], pairs[0][1].view(np.int8)), *pairs[1:]],
    "another byte order": lambda pairs: [*pairs[:1], (pairs[1][0], pairs[1][1].astype(">f2"))],
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_tensors_that_are_not_the_planned_ones_are_refused(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    pairs = change(list(tensor_values()))
    with pytest.raises(CompileError, match="given to the writer"):  # noqa: SIM117
        with ArtifactWriter(tmp_path / "x") as writer:
            writer.add_weights(weight_plan(), pairs)
    assert not (tmp_path / "x").exists()


def test_arrays_that_are_views_are_written_as_they_read(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.int32).reshape(4, 6)
    arrays = [("a", values.T), ("b", values[::2, ::-1]), ("c", np.float32(7.5).reshape(()))]
    specs = [TensorSpec(name, array.dtype.name, array.shape) for name, array in arrays]
    with ArtifactWriter(tmp_path / "x") as writer:
        files, _ = writer.add_weights(plan_weights(specs), arrays)
        read = load_file(tmp_path / "x" / files[0].path)
    for name, array in arrays:
        np.testing.assert_array_equal(read[name], array)


def test_a_shard_is_never_held_in_memory(tmp_path: Path) -> None:
    tensor_bytes = 2 << 20
    specs = [TensorSpec(f"t{i}", "uint8", (tensor_bytes,)) for i in range(16)]
    with ArtifactWriter(tmp_path / "x") as writer:
        tracemalloc.start()
        try:
            writer.add_weights(
                plan_weights(specs),
                ((spec.name, np.full(spec.shape, 3, np.uint8)) for spec in specs),
            )
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 3 * tensor_bytes


def test_a_file_is_copied_in_and_its_source_stays(tmp_path: Path) -> None:
    data = os.urandom(10_000_000)
    (tmp_path / "source").write_bytes(data)
    with ArtifactWriter(tmp_path / "x") as writer:
        entry = writer.add_file("library", ".so", tmp_path / "source")
        assert (tmp_path / "x" / entry.path).read_bytes() == data
    assert entry.sha256 == hashlib.sha256(data).hexdigest()
    assert entry.path == f"library-{entry.sha256[:16]}.so"
    assert entry.size_bytes == len(data)
    assert (tmp_path / "source").read_bytes() == data


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "x") as writer:
        for bad in (tmp_path / "absent", tmp_path):
            with pytest.raises(ArtifactError, match=f"{bad} cannot be read"):
                writer.add_file("library", ".so", bad)
        assert [f.name for f in (tmp_path / "x").iterdir() if f.suffix == ".so"] == []


@pytest.mark.parametrize(
    ("stem", "suffix"),
    [("", ".so"), ("../x", ".so"), (".x", ""), ("a/b", ""), ("a", "so"), ("a", "/x"), ("a\0", "")],
)
def test_names_that_are_not_plain_are_refused(tmp_path: Path, stem: str, suffix: str) -> None:
    with ArtifactWriter(tmp_path / "x") as writer, pytest.raises(ArtifactError):
        writer.add_bytes(stem, suffix, b"")


def test_a_manifest_that_names_a_file_nobody_added_is_not_committed(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "x") as writer:
        manifest = add_sample_files(writer)
        missing = dataclasses.replace(manifest, golden=entry_of("golden", ".bin", b"absent"))
        with pytest.raises(ArtifactError, match="is in the manifest, but not in"):
            writer.commit(missing)
        hollow = dataclasses.replace(manifest.model, num_layers=0)
        with pytest.raises(ArtifactError, match="num_layers"):
            writer.commit(dataclasses.replace(manifest, model=hollow))
        committed = writer.commit(manifest)
    check_whole(tmp_path / "x", committed)


def test_a_new_manifest_may_name_files_of_the_old_artifact(tmp_path: Path) -> None:
    old = write_sample(tmp_path / "x")
    with ArtifactWriter(tmp_path / "x") as writer:
        golden = writer.add_bytes("golden", ".bin", b"other golden data")
        new = writer.commit(dataclasses.replace(old, golden=golden))
    assert new.artifact_id != old.artifact_id
    check_whole(tmp_path / "x", new)


def test_nothing_is_added_after_the_commit(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "x") as writer:
        manifest = writer.commit(add_sample_files(writer))
        with pytest.raises(ArtifactError, match="before the commit"):
            writer.add_bytes("late", ".bin", b"")
        with pytest.raises(ArtifactError, match="a second commit"):
            writer.commit(manifest)
    check_whole(tmp_path / "x", manifest)


def test_too_little_space_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_bavail=1000, f_frsize=4096)
    with ArtifactWriter(tmp_path / "x") as writer:
        monkeypatch.setattr(os, "fstatvfs", lambda fd: disk)
        writer.require_space(3_900_000)
        for size in (3_901_000, 2**60):  # 5 % are kept for the file system
            with pytest.raises(DiskSpaceError, match=r"0\.00 GB free"):
                writer.require_space(size)
        disk.f_bavail = 1
        with pytest.raises(DiskSpaceError):
            writer.add_weights(weight_plan(), tensor_values())
        assert [file.name for file in (tmp_path / "x").iterdir()] == [".lock"]
