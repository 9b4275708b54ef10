"""Files of one folder, opened so that a hostile name or link leads nowhere else."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable

from ferrylm.errors import IntegrityError
from ferrylm.runtime.file_hash import read_exactly, sha256_of_fd
from ferrylm.runtime.manifest import FileEntry

FIX = "compile the model again, or fetch the artifact again"

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def open_regular(name: str, folder_fd: int) -> int:
    """Open a regular file directly within a folder for reading.

    The name must be plain, the file no link (O_NOFOLLOW), no folder, no pipe and no device
    (O_NONBLOCK: opening a pipe must not wait for its writer). The caller closes the descriptor.
    Raises IntegrityError.
    """
    if not _PLAIN_NAME.fullmatch(name):
        raise IntegrityError(f"the file name {name[:80]!a}", wanted="a plain name", fix=FIX)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = -1
    try:
        fd = os.open(name, flags, dir_fd=folder_fd)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        reason = "it is of another kind"
    except OSError as problem:
        reason = os.strerror(problem.errno or 0)
    if fd >= 0:
        os.close(fd)
    raise IntegrityError(f"{name} cannot be opened ({reason})", wanted="a regular file", fix=FIX)


def verify_fd(fd: int, entry: FileEntry, on_bytes: Callable[[int], None] | None = None) -> None:
    """Check an open file's size and hash against its entry. Raises IntegrityError."""
    try:
        size = os.fstat(fd).st_size
        if size != entry.size_bytes:
            raise _wrong_size(entry, size)
        digest = sha256_of_fd(fd, size, on_bytes)
    except OSError as problem:
        raise unreadable(entry, problem) from None
    _check_digest(entry, digest)


def _wrong_size(entry: FileEntry, size: int) -> IntegrityError:
    return IntegrityError(f"{entry.path} has {size} bytes", wanted=str(entry.size_bytes), fix=FIX)


def _check_digest(entry: FileEntry, digest: str) -> None:
    if digest != entry.sha256:
        raise IntegrityError(
            f"{entry.path} has the SHA-256 {digest[:16]}...",
            wanted=f"{entry.sha256[:16]}...",
            fix=FIX,
        )


def read_verified_fd(fd: int, entry: FileEntry) -> bytes:
    """Read a whole open file and hash the very bytes that are returned. Raises IntegrityError."""
    try:
        size = os.fstat(fd).st_size
        # The true size decides before memory is taken for the size that the manifest claims.
        if size != entry.size_bytes:
            raise _wrong_size(entry, size)
        data = bytearray(size)
        whole = read_exactly(fd, memoryview(data), 0)
    except OSError as problem:
        raise unreadable(entry, problem) from None
    if not whole:
        raise _wrong_size(entry, os.fstat(fd).st_size)
    _check_digest(entry, hashlib.sha256(data).hexdigest())
    return bytes(data)


def read_at_most(fd: int, limit_bytes: int) -> bytes:
    """Read the first `limit_bytes` of an open file, or all of a shorter one. Raises OSError."""
    pieces = []
    done = 0
    while done < limit_bytes:
        piece = os.pread(fd, limit_bytes - done, done)
        if not piece:
            break
        pieces.append(piece)
        done += len(piece)
    return b"".join(pieces)


def sealed_memory(data: bytes, label: str) -> int:
    """Copy bytes into an anonymous file that nobody can change any more. Raises OSError."""
    fd = os.memfd_create(label[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd


def unreadable(entry: FileEntry, problem: OSError) -> IntegrityError:
    """Make the error of a file that the disk does not give."""
    return IntegrityError(
        f"{entry.path} cannot be read ({os.strerror(problem.errno or 0)})",
        wanted="a readable file",
        fix="check the disk, then fetch the artifact again",
    )
