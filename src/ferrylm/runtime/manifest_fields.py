"""Checks of single fields of a manifest; each raises the ArtifactError that names the field."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from ferrylm.runtime.manifest_codec import refuse, show
from ferrylm.runtime.tensor_types import ITEM_BYTES

MAX_TENSOR_BYTES = 2**48
MAX_COUNT = 2**31 - 1  # of tokens, heads, rows: what a 32-bit index can reach

TENSOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,255}")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def check_tensor(where: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Refuse an unknown dtype, or a shape that is malformed or too large."""
    if dtype not in ITEM_BYTES:
        refuse(f"{where}.dtype", show(dtype), "one of " + ", ".join(ITEM_BYTES))
    if len(shape) > 8 or any(size < 1 or size > MAX_TENSOR_BYTES for size in shape):
        refuse(f"{where}.shape", ascii(shape[:9])[:99], "at most 8 sizes of 1 or more")
    if math.prod(shape) * ITEM_BYTES[dtype] >= MAX_TENSOR_BYTES:
        refuse(f"{where}.shape", ascii(shape), f"less than {MAX_TENSOR_BYTES} bytes in all")


def check_unique(where: str, what: str, names: Iterable[str]) -> None:
    """Refuse a list in which a name stands twice; `what` says what the names are."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            refuse(where, f"a list with the {what} {show(name)} twice", f"each {what} once")
        seen.add(name)


def check_match(where: str, text: str, pattern: re.Pattern[str], wanted: str) -> None:
    """Refuse a text that does not match as a whole."""
    if not pattern.fullmatch(text):
        refuse(where, show(text), wanted)


def check_text(where: str, text: str) -> None:
    """Refuse a text that is empty, long, or holds control characters."""
    # Control characters in a name would reach the user's terminal.
    if not 1 <= len(text) <= 200 or not text.isprintable():
        refuse(where, show(text), "1 to 200 printable characters")


def check_range(where: str, value: int, lowest: int, highest: int) -> None:
    """Refuse an integer out of range."""
    if not lowest <= value <= highest:
        refuse(where, str(value), f"an integer from {lowest} to {highest}")


def check_positive(where: str, value: float) -> None:
    """Refuse a number that is not more than 0."""
    if not value > 0.0:
        refuse(where, repr(value), "more than 0")
