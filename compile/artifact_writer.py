"""Writes an artifact so that at every moment the folder holds the old one or the new one, whole.

Files are written under temporary names, hashed on the way, synced and renamed to names that carry
their hash. The rename of the manifest is the only commit point.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ferrylm.compile.output_folder import MANIFEST_TEMPORARY, OutputFolder, disk_errors
from ferrylm.compile.weight_plan import ShardPlan, TensorSpec, WeightPlan
from ferrylm.errors import ArtifactError, CompileError, DiskSpaceError, IntegrityError
from ferrylm.runtime.folder_files import open_regular, verify_fd
from ferrylm.runtime.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    TensorEntry,
    manifest_files,
)
from ferrylm.runtime.manifest_json import from_json, to_json, with_artifact_id
from ferrylm.runtime.strict_json import dumps_canonical, loads

SPARE_SPACE = 0.05  # of what is wanted, for the file system's own records
NAME_HASH_DIGITS = 16

_PIECE_BYTES = 4 << 20
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,20}){0,3}")


class ArtifactWriter:
    """Writes one artifact; use it as a context manager and call `commit` at the end.

    Leaving without `commit`, by an error or not, takes away what was written; an artifact that
    was in the folder before stays as it was. After a kill the next writer cleans up.
    """

    def __init__(self, output: Path) -> None:
        """Lock the output folder, which is made if it is missing.

        Raises LockError if another process writes it, ArtifactError if it holds something else
        than an artifact.
        """
        self._folder = OutputFolder(output)
        try:
            self._folder.remove_temporaries()
            self._formerly = {entry.path for entry in self._folder.published_files()}
        except BaseException:
            self._folder.close(keep=False)
            raise
        self._temporaries: set[str] = set()
        self._entries: dict[str, FileEntry] = {}
        self._created: set[str] = set()
        self._counter = 0
        self._committed = False

    def __enter__(self) -> ArtifactWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self._temporaries:
            self._folder.remove(name)
        if not self._committed:
            for name in self._created - self._formerly:
                self._folder.remove(name)
        self._folder.close(keep=self._committed)

    def require_space(self, size_bytes: int) -> None:
        """Check that the disk has room for so many more bytes. Raises DiskSpaceError."""
        with disk_errors(f"{self._folder.path} cannot be asked for its free space"):
            disk = os.fstatvfs(self._folder.fd)
        free = disk.f_bavail * disk.f_frsize
        wanted = int(size_bytes * (1 + SPARE_SPACE))
        if free < wanted:
            raise DiskSpaceError(
                f"{free / 1e9:.2f} GB free at {self._folder.path}",
                wanted=f"{wanted / 1e9:.2f} GB",
                fix="free some disk or choose another output folder",
            )

    def add_bytes(self, stem: str, suffix: str, data: bytes) -> FileEntry:
        """Write a file named `stem-HASHsuffix`. Raises DiskSpaceError, ArtifactError."""
        return self._publish(stem, suffix, [memoryview(data)])

    def add_file(self, stem: str, suffix: str, path: Path) -> FileEntry:
        """Copy a file in; the source stays. Raises DiskSpaceError, ArtifactError."""
        return self._publish(stem, suffix, _pieces_of(path))

    def add_weights(
        self, plan: WeightPlan, tensors: Iterable[tuple[str, npt.NDArray[np.generic]]]
    ) -> tuple[tuple[FileEntry, ...], tuple[TensorEntry, ...]]:
        """Write the planned shards from tensors that come in the plan's order.

        One tensor is held at a time, never a shard. Returns the files and the tensors' entries of
        the manifest. Raises CompileError if a tensor is not the planned one, DiskSpaceError,
        ArtifactError.
        """
        self.require_space(plan.size_bytes)
        source = iter(tensors)
        files = tuple(
            self._publish(f"weights-{index:05d}", ".safetensors", _shard_pieces(shard, source))
            for index, shard in enumerate(plan.shards)
        )
        extra = next(source, None)
        if extra is not None:
            raise _wrong_tensor(f"one more tensor, {extra[0]}", "the end of the weights")
        return files, plan.tensors

    def commit(self, manifest: Manifest) -> Manifest:
        """Publish the artifact and return its manifest, with the `artifact_id` of its content.

        Every file the manifest names must have been added, or be in the folder with the right
        hash. Files of the artifact before that are not named any more are removed. Raises
        ArtifactError and DiskSpaceError; the artifact before is then as it was, but where the
        message says that the new one is written.
        """
        if self._committed:
            raise ArtifactError("a second commit", wanted="one", fix="make another writer")
        complete = with_artifact_id(manifest)
        data = dumps_canonical(to_json(complete))
        if from_json(loads(data, what=MANIFEST_NAME)) != complete:
            raise ArtifactError(
                "a manifest that reads back as another", wanted="the same", fix="report this bug"
            )
        files = manifest_files(complete)
        for entry in files:
            self._check_present(entry)
        with disk_errors(f"{self._folder.path} cannot be committed"):
            self._commit_bytes(data)
        self._sync_commit()
        self._folder.remove_unreferenced({entry.path for entry in files}, self._formerly)
        return complete

    def _commit_bytes(self, data: bytes) -> None:
        self._temporaries.add(MANIFEST_TEMPORARY)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(MANIFEST_TEMPORARY, flags, 0o644, dir_fd=self._folder.fd)
        try:
            _write_all(fd, memoryview(data))
            os.fsync(fd)
        finally:
            os.close(fd)
        # The names of all files must be on disk before the manifest that refers to them.
        os.fsync(self._folder.fd)
        # From here on an interrupt must not take away what the manifest may already name.
        self._committed = True
        try:
            self._rename(MANIFEST_TEMPORARY, MANIFEST_NAME)
        except OSError:
            self._committed = False
            raise

    def _sync_commit(self) -> None:
        try:
            os.fsync(self._folder.fd)
            if self._folder.created:
                _sync_folder(self._folder.path.parent)
        except OSError as problem:
            raise ArtifactError(
                f"{self._folder.path} is written, but the disk reports {problem.strerror}",
                wanted="a disk that confirms what it holds",
                fix="check the disk, then verify the artifact",
            ) from None

    def _publish(self, stem: str, suffix: str, pieces: Iterable[memoryview]) -> FileEntry:
        """Write a file under a temporary name and give it its name when its hash is known."""
        if self._committed or not _STEM.fullmatch(stem) or not _SUFFIX.fullmatch(suffix):
            raise ArtifactError(
                f"a file {stem[:80]!a}{suffix[:80]!a} to add",
                wanted="a plain stem and suffix, before the commit",
                fix="report this bug",
            )
        temporary = self._new_temporary()
        with disk_errors(f"{self._folder.path / stem}{suffix} cannot be written"):
            size, digest = self._write_temporary(temporary, pieces)
            entry = FileEntry(f"{stem}-{digest[:NAME_HASH_DIGITS]}{suffix}", size, digest)
            if self._is_present(entry):
                os.unlink(temporary, dir_fd=self._folder.fd)
            else:
                self._created.add(entry.path)
                self._rename(temporary, entry.path)
        self._temporaries.discard(temporary)
        self._entries[entry.path] = entry
        return entry

    def _write_temporary(self, name: str, pieces: Iterable[memoryview]) -> tuple[int, str]:
        """Write and sync a new file; return its size and hash."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(name, flags, 0o644, dir_fd=self._folder.fd)
        digest = hashlib.sha256()
        size = 0
        try:
            for whole in pieces:
                for start in range(0, len(whole), _PIECE_BYTES):
                    piece = whole[start : start + _PIECE_BYTES]
                    digest.update(piece)
                    _write_all(fd, piece)
                    size += len(piece)
            os.fsync(fd)
        finally:
            os.close(fd)
        return size, digest.hexdigest()

    def _new_temporary(self) -> str:
        self._counter += 1
        name = f".ferry-{self._counter}.tmp"
        self._temporaries.add(name)
        return name

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._folder.fd, dst_dir_fd=self._folder.fd)

    def _is_present(self, entry: FileEntry) -> bool:
        try:
            fd = open_regular(entry.path, self._folder.fd)
        except IntegrityError:
            return False
        try:
            verify_fd(fd, entry)
        except IntegrityError:
            return False
        finally:
            os.close(fd)
        return True

    def _check_present(self, entry: FileEntry) -> None:
        if self._entries.get(entry.path) != entry and not self._is_present(entry):
            raise ArtifactError(
                f"{entry.path} is in the manifest, but not in {self._folder.path}",
                wanted="every file added before the commit",
                fix="report this bug",
            )


def _shard_pieces(
    shard: ShardPlan, source: Iterator[tuple[str, npt.NDArray[np.generic]]]
) -> Iterator[memoryview]:
    yield memoryview(shard.prefix)
    for spec in shard.tensors:
        yield _tensor_bytes(spec, next(source, None))


def _tensor_bytes(
    spec: TensorSpec, given: tuple[str, npt.NDArray[np.generic]] | None
) -> memoryview:
    wanted = f"{spec.name}, {spec.dtype} of shape {list(spec.shape)}"
    if given is None:
        raise _wrong_tensor("no more tensor", wanted)
    name, array = given
    # Comparing dtypes, not their names: big-endian float16 has the name of float16.
    if name != spec.name or array.dtype != np.dtype(spec.dtype) or array.shape != spec.shape:
        raise _wrong_tensor(f"{name}, {array.dtype.str} of shape {list(array.shape)}", wanted)
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _wrong_tensor(found: str, wanted: str) -> CompileError:
    return CompileError(f"{found} given to the writer", wanted=wanted, fix="report this bug")


def _pieces_of(path: Path) -> Iterator[memoryview]:
    try:
        with path.open("rb", buffering=0) as source:
            while piece := source.read(_PIECE_BYTES):
                yield memoryview(piece)
    except OSError as problem:
        raise ArtifactError(
            f"{path} cannot be read ({problem.strerror})",
            wanted="a readable file",
            fix="check that it is there and readable",
        ) from None


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
