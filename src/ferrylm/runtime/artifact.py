"""An artifact on disk, read without trusting it: nothing is used before its hash is known."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ferrylm.errors import ArtifactError, IntegrityError
from ferrylm.runtime import folder_files
from ferrylm.runtime.folder_files import FIX, open_regular, verify_fd
from ferrylm.runtime.manifest import MANIFEST_NAME, FileEntry, Manifest, manifest_files
from ferrylm.runtime.manifest_json import from_json
from ferrylm.runtime.progress import Progress, ProgressCallback, ignore_progress
from ferrylm.runtime.strict_json import loads
from ferrylm.runtime.weight_shards import WeightShards

MAX_MANIFEST_BYTES = 16 << 20
MAX_LIBRARY_BYTES = 1 << 30

_HASH_THREADS = 4


class Artifact:
    """An open artifact folder.

    The folder stays open, so that all files come from the one folder whatever happens to its
    path. Use it as a context manager, or call `close`.
    """

    def __init__(self, path: Path, folder_fd: int, manifest: Manifest) -> None:
        """Take over an open folder; `Artifact.open` is the way to get here."""
        self._path = path
        self._folder_fd = folder_fd
        self._manifest = manifest
        self._shards = WeightShards(manifest.weights, folder_fd)
        self._close = weakref.finalize(self, _close_all, folder_fd, self._shards)

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Open a folder and check its manifest; no other file is touched yet.

        Raises ArtifactError.
        """
        try:
            folder_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else str(problem)
            raise ArtifactError(
                f"{path} cannot be opened as a folder ({reason})",
                wanted="the folder of an artifact",
                fix="give the folder that ferry compile wrote",
            ) from None
        try:
            return cls(path, folder_fd, read_manifest(folder_fd, path))
        except BaseException:
            os.close(folder_fd)
            raise

    @property
    def path(self) -> Path:
        """Return the folder's path as it was given."""
        return self._path

    @property
    def manifest(self) -> Manifest:
        """Return the checked manifest."""
        return self._manifest

    def verify_file(self, entry: FileEntry) -> None:
        """Check one file's size and SHA-256. Raises IntegrityError."""
        os.close(self.open_verified(entry))

    def open_verified(self, entry: FileEntry, on_bytes: Callable[[int], None] | None = None) -> int:
        """Open a file, hash it through this very descriptor, and hand the descriptor over.

        Use the content through the descriptor only: by its path it could be another file by
        then. The caller closes it. Raises IntegrityError.
        """
        fd = open_regular(entry.path, self._folder_fd)
        try:
            verify_fd(fd, entry, on_bytes)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read_verified(self, entry: FileEntry, max_bytes: int) -> bytes:
        """Return a whole file of at most `max_bytes`, hashed. Raises IntegrityError."""
        if entry.size_bytes > max_bytes:
            raise IntegrityError(
                f"{entry.path} has {entry.size_bytes} bytes", wanted=f"at most {max_bytes}", fix=FIX
            )
        fd = open_regular(entry.path, self._folder_fd)
        try:
            return folder_files.read_verified_fd(fd, entry)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def library_path(self, entry: FileEntry) -> Iterator[Path]:
        """Give a path from which a library can be loaded: a sealed copy whose hash is right.

        Load it within the `with` block by the path as it is: `tvm_ffi.load_module(path)`, or
        `ctypes.CDLL(path)`. What resolves links first (tvm.runtime.load_module) loses the copy.
        Raises IntegrityError, and ArtifactError where no temporary folder can be made.

        A mapped file that somebody overwrites or truncates kills the process; the copy cannot
        change. The path is new each time, because glibc takes a path that it loaded before for
        the same library, and /proc/self/fd/N comes back as soon as a descriptor is closed.
        """
        fd = self._sealed_copy(entry)
        try:
            link = _link_in_new_folder(entry.path, fd)
            try:
                yield link
            finally:
                shutil.rmtree(link.parent, ignore_errors=True)
        finally:
            os.close(fd)

    def _sealed_copy(self, entry: FileEntry) -> int:
        data = self.read_verified(entry, MAX_LIBRARY_BYTES)
        try:
            return folder_files.sealed_memory(data, entry.path)
        except OSError:  # a container may forbid memfd_create
            return self.open_verified(entry)

    def read_tensor(self, name: str) -> npt.NDArray[np.generic]:
        """Read one stored tensor into memory of its own; its shard is hashed at first use.

        Raises IntegrityError, and ArtifactError for a name that is not stored.
        """
        return self._shards.read(name)

    def read_tensor_part(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill a buffer with a stored tensor's bytes from `start` on. Raises as `read_tensor`."""
        self._shards.read_part(name, start, buffer)

    def iterate_tensors(self) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        """Yield all stored tensors in the manifest's order, while later shards are hashed."""
        return self._shards.iterate(_HASH_THREADS)

    def verify_all(self, progress: ProgressCallback = ignore_progress) -> None:
        """Hash every file, several at once.

        `progress` is told the bytes of the stage "verify", from any thread but never from two at
        once. Raises the IntegrityError of the first bad file in the manifest's order.
        """
        entries = tuple(dict.fromkeys(manifest_files(self._manifest)))
        report = _ByteCount(sum(entry.size_bytes for entry in entries), progress)

        def verify(entry: FileEntry) -> None:
            os.close(self.open_verified(entry, report.add))

        pool = ThreadPoolExecutor(_HASH_THREADS)
        try:
            for _ in pool.map(verify, entries):
                pass
        finally:
            pool.shutdown(cancel_futures=True)

    def verify_before_use(self) -> None:
        """Hash every file, before the first byte of code among them is loaded.

        Weight shards stay open, and reading them does not hash them again. Raises IntegrityError.
        """
        self._shards.verify(_HASH_THREADS)
        shards = set(self._manifest.weights.files)
        for entry in dict.fromkeys(manifest_files(self._manifest)):
            if entry not in shards:
                self.verify_file(entry)

    def close(self) -> None:
        """Close the folder and the shards; tensors that were read stay valid."""
        self._close()

    def __enter__(self) -> Artifact:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_manifest(folder_fd: int, path: Path) -> Manifest:
    """Read and check the manifest of an open folder; `path` names it. Raises ArtifactError."""
    try:
        fd = open_regular(MANIFEST_NAME, folder_fd)
    except IntegrityError as problem:
        raise ArtifactError(
            f"{path}: {problem.found}",
            wanted=f"an artifact, which has a {MANIFEST_NAME}",
            fix="give the folder that ferry compile wrote, or compile again if it was stopped",
        ) from None
    try:
        data = folder_files.read_at_most(fd, MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path}: {MANIFEST_NAME} cannot be read ({error.strerror})",
            wanted="a readable file",
            fix="check the disk, then fetch the artifact again",
        ) from None
    finally:
        os.close(fd)
    try:
        return from_json(loads(data, what=MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES))
    except ArtifactError as problem:
        raise ArtifactError(
            f"{path}: {problem.found}", wanted=problem.wanted, fix=problem.fix
        ) from None


def _link_in_new_folder(name: str, fd: int) -> Path:
    try:
        link = Path(tempfile.mkdtemp(prefix="ferrylm-")) / name
        link.symlink_to(f"/proc/self/fd/{fd}")
    except OSError as problem:
        raise ArtifactError(
            f"no folder for temporary files ({problem.strerror})",
            wanted="one that can be written, to load a library from",
            fix="set TMPDIR to such a folder",
        ) from None
    return link


class _ByteCount:
    """Adds up the bytes that several threads report."""

    def __init__(self, total_bytes: int, progress: ProgressCallback) -> None:
        self._total_bytes = total_bytes
        self._progress = progress
        self._done_bytes = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done_bytes += count
            self._progress(Progress("verify", self._done_bytes, self._total_bytes, "B"))


def _close_all(folder_fd: int, shards: WeightShards) -> None:
    shards.close()
    os.close(folder_fd)
