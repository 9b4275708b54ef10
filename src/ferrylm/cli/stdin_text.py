"""Read text from stdin without trusting its length or its encoding."""

from __future__ import annotations

import sys

from ferrylm.errors import UsageError

MAX_STDIN_BYTES = 16 << 20
_FIX = "give a shorter UTF-8 text"


def read_all() -> str:
    """Return all of stdin. Raises UsageError if it is too long or not UTF-8."""
    return _decode(sys.stdin.buffer.read(MAX_STDIN_BYTES + 1))


def read_line() -> str | None:
    """Return the next line of stdin without its end, or None at the end of the file.

    Raises UsageError if it is too long or not UTF-8.
    """
    line = sys.stdin.buffer.readline(MAX_STDIN_BYTES + 1)
    return _decode(line).rstrip("\r\n") if line else None


def _decode(content: bytes) -> str:
    wanted = f"UTF-8 text of at most {MAX_STDIN_BYTES >> 20} MiB"
    if len(content) > MAX_STDIN_BYTES:
        raise UsageError("a longer text on stdin", wanted=wanted, fix=_FIX)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"bytes on stdin that are not UTF-8 at position {error.start}"
        raise UsageError(found, wanted=wanted, fix=_FIX) from None
