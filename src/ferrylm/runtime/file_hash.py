"""SHA-256 of open files, read at explicit offsets so that threads may share a descriptor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

_CHUNK_BYTES = 1 << 20


def sha256_of_fd(fd: int, size_bytes: int, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hash the first `size_bytes` of a file; a shorter file gives the hash of what there is.

    `on_bytes` is told the size of each piece. hashlib frees the interpreter lock, so several
    files hash in parallel threads. Raises OSError.
    """
    digest = hashlib.sha256()
    buffer = bytearray(min(_CHUNK_BYTES, max(size_bytes, 1)))
    offset = 0
    while offset < size_bytes:
        piece = memoryview(buffer)[: min(len(buffer), size_bytes - offset)]
        count = os.preadv(fd, [piece], offset)
        if count == 0:
            break
        digest.update(piece[:count])
        offset += count
        if on_bytes is not None:
            on_bytes(count)
    return digest.hexdigest()


def read_exactly(fd: int, target: memoryview, offset: int) -> bool:
    """Fill `target` from `offset` on; False if the file ends before. Raises OSError."""
    done = 0
    while done < len(target):
        count = os.preadv(fd, [target[done:]], offset + done)
        if count == 0:
            return False
        done += count
    return True
