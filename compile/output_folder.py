"""The folder that a compile writes: locked, known to be ours, and cleaned of what a kill left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ferrylm.errors import ArtifactError, DiskSpaceError, FerryError, LockError
from ferrylm.runtime.artifact import MAX_MANIFEST_BYTES, read_manifest
from ferrylm.runtime.file_hash import sha256_of_fd
from ferrylm.runtime.folder_files import open_regular, read_at_most
from ferrylm.runtime.manifest import FORMAT_NAME, MANIFEST_NAME, FileEntry, manifest_files
from ferrylm.runtime.strict_json import loads

LOCK_NAME = ".lock"
MANIFEST_TEMPORARY = MANIFEST_NAME + ".tmp"

_TEMPORARY_NAME = re.compile(r"\.ferry-[0-9]+\.tmp")
_CONTENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-([0-9a-f]{16})(?:\.[A-Za-z0-9]+)*")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputFolder:
    """An output folder that this process alone writes while the object is open."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it is missing, and lock it.

        Raises ArtifactError for a folder with something else in it (which is left alone),
        LockError if another process writes it.
        """
        self.path = path
        self.created = False
        self.fd = -1
        # A writer that fails takes away its lock file and the folder it made, perhaps just now.
        with disk_errors(f"{path} cannot be opened"):
            for _ in range(100):
                self._make()
                with contextlib.suppress(FileNotFoundError):
                    self._open()
                    return
        raise LockError(
            f"{path} vanishes again and again", wanted="a folder that stays", fix="try again"
        )

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir()
            self.created = True

    def _open(self) -> None:
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_ours(self.fd, self.path)
            self._lock_fd = _lock(self.fd, self.path)
        except BaseException:
            os.close(self.fd)
            raise

    def published_files(self) -> tuple[FileEntry, ...]:
        """List the files of the artifact that is there now; none if it is damaged or absent."""
        try:
            return manifest_files(read_manifest(self.fd, self.path))
        except ArtifactError:
            return ()

    def remove_temporaries(self) -> None:
        """Remove what a writer that was killed had not published."""
        for name in self._names():
            if _TEMPORARY_NAME.fullmatch(name) or name == MANIFEST_TEMPORARY:
                self.remove(name)

    def remove_unreferenced(self, kept: set[str], formerly: set[str]) -> None:
        """Remove published files that are not `kept`.

        That a file is one of ours is known by the manifest that listed it (`formerly`), else by
        a content that has the hash in the name: a stranger's file is never removed.
        """
        for name in self._names():
            match = _CONTENT_NAME.fullmatch(name)
            if match is None or name in kept:
                continue
            if name in formerly or self._hashes_to(name, match[1]):
                self.remove(name)

    def remove(self, name: str) -> None:
        """Remove one file if the disk lets it; a leftover is no failure."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self.fd)

    def close(self, *, keep: bool) -> None:
        """Give up the lock; with `keep` false also take away a folder that was made in vain."""
        # Unlinking under the lock is safe because _lock compares the inodes afterwards.
        self.remove(LOCK_NAME)
        if self.created and not keep:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
        os.close(self._lock_fd)
        os.close(self.fd)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.fd)
        except OSError:  # cleaning can wait for the next writer
            return []

    def _hashes_to(self, name: str, digits: str) -> bool:
        try:
            fd = open_regular(name, self.fd)
        except FerryError:
            return False
        try:
            return sha256_of_fd(fd, os.fstat(fd).st_size).startswith(digits)
        except OSError:
            return False
        finally:
            os.close(fd)


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the system's errors into this package's; `what` says what failed."""
    try:
        yield
    except OSError as problem:
        reason = os.strerror(problem.errno or 0)
        if problem.errno in _NO_SPACE:
            raise DiskSpaceError(
                f"{what} ({reason})",
                wanted="room for the whole artifact",
                fix="free some disk or choose another output folder; an artifact that was there "
                "is as it was",
            ) from None
        raise ArtifactError(
            f"{what} ({reason})",
            wanted="a folder that can be written",
            fix="check its permissions and the disk; an artifact that was there is as it was",
        ) from None


def _check_ours(fd: int, path: Path) -> None:
    """Refuse a folder that holds something else than an artifact or a part of one."""
    names = os.listdir(fd)
    if MANIFEST_NAME in names:
        if _is_artifact_manifest(fd):
            return
        foreign = [MANIFEST_NAME]
    else:
        foreign = [name for name in names if not _is_own_name(name)]
    if foreign:
        raise ArtifactError(
            f"{path} holds {sorted(foreign)[0][:80]!a}, which is not of an artifact",
            wanted="a new or empty folder, or an artifact to replace",
            fix="choose another output folder, or empty this one yourself",
        )


def _is_own_name(name: str) -> bool:
    return (
        name in (LOCK_NAME, MANIFEST_TEMPORARY)
        or _TEMPORARY_NAME.fullmatch(name) is not None
        or _CONTENT_NAME.fullmatch(name) is not None
    )


def _is_artifact_manifest(folder_fd: int) -> bool:
    """Tell whether manifest.json is an artifact's, even a damaged or a newer one."""
    try:
        fd = open_regular(MANIFEST_NAME, folder_fd)
    except ArtifactError:
        return False
    try:
        data = read_at_most(fd, MAX_MANIFEST_BYTES)
    finally:
        os.close(fd)
    try:
        value = loads(data, what=MANIFEST_NAME)
    except ArtifactError:
        return FORMAT_NAME.encode() in data
    return type(value) is dict and value.get("format") == FORMAT_NAME


def _lock(folder_fd: int, path: Path) -> int:
    """Take the lock file's lock, which the system gives back when the process ends."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(LOCK_NAME, flags, 0o644, dir_fd=folder_fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            named = os.stat(LOCK_NAME, dir_fd=folder_fd, follow_symlinks=False)
            if named.st_ino == os.fstat(fd).st_ino:
                os.ftruncate(fd, 0)
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
                return fd
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise LockError(
                f"{path} is being written by process {holder or 'of unknown number'}",
                wanted="one compile at a time for one output folder",
                fix="wait until it ends, or choose another output folder",
            ) from None
        except FileNotFoundError:
            pass  # the holder before took the file away between open and lock
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
