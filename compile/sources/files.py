"""Read weight files at explicit offsets into owned buffers.

No memory maps: a mapped file that shrinks kills the process with SIGBUS, a short read is an error.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferrylm.errors import SourceError
from ferrylm.runtime.file_hash import read_exactly

Bytes = NDArray[np.uint8]


class WeightFile:
    """One open regular file of known size. Raises SourceError for whatever cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without O_NONBLOCK, opening a named pipe would wait for a writer.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as problem:
            raise unreadable(path, problem) from None
        status = os.fstat(self._fd)
        self.size_bytes = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise unreadable(path, "not a regular file")

    def read(self, offset: int, size_bytes: int) -> Bytes:
        """Read exactly these bytes into a fresh array."""
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise SourceError(
                f"bytes {offset} to {offset + size_bytes} of {self.path.name} were asked for",
                wanted=f"a range within its {self.size_bytes} bytes",
                fix="fetch the file again",
            )
        if self._fd < 0:
            raise unreadable(self.path, "already closed")
        target = np.empty(size_bytes, np.uint8)
        try:
            complete = read_exactly(self._fd, memoryview(target.data), offset)
        except OSError as problem:
            raise unreadable(self.path, problem) from None
        if not complete:
            raise unreadable(self.path, "the file became shorter while it was read")
        return target

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True)
class FileRows:
    """Rows of `row_bytes` each that lie one after another from `offset` on."""

    file: WeightFile
    offset: int
    row_bytes: int

    def read(self, start: int, stop: int) -> Bytes:
        """Read rows start to stop: uint8 [stop - start, row_bytes]."""
        first = self.offset + start * self.row_bytes
        raw = self.file.read(first, (stop - start) * self.row_bytes)
        return raw.reshape(stop - start, self.row_bytes)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a whole small file. Raises SourceError if it is larger than `max_bytes`."""
    file = WeightFile(path)
    try:
        if file.size_bytes > max_bytes:
            raise SourceError(
                f"{path.name} has {file.size_bytes} bytes",
                wanted=f"at most {max_bytes} bytes",
                fix="check that this is the right file",
            )
        return file.read(0, file.size_bytes).tobytes()
    finally:
        file.close()


def unreadable(path: Path, problem: object) -> SourceError:
    """Describe a file that cannot be read, without more of its path than its name."""
    reason = problem.strerror if isinstance(problem, OSError) else problem
    return SourceError(
        f"cannot read {path.name[:100]!r}: {reason}",
        wanted="a readable file",
        fix="check the path and its permissions, or fetch the file again",
    )
