"""The inputs of the golden kernel vectors, out of a counter: the same bits everywhere, for ever.

Every number is a multiple of a power of two with few bits, so that the products and sums of a
reference in float64 are exact and do not depend on their order. Activations and gains are odd
multiples: then no element of an int8 group lies half-way between two codes, and every correct
implementation rounds to the same codes.

A matrix has only PROTOTYPES different rows (pairs of rows for a SwiGLU), in an order that the
counter decides. So all its outputs can be checked, while the expected ones take little room.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.golden_format import GoldenMatrix

PROTOTYPES = 64
GROUP = 32
MOST_WINDOW = 8192  # tokens; beyond, a sequence that fills it would take too long to make

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint64]


def hashed(stream: str, shape: Sequence[int]) -> Words:
    """Return uint64 words: splitmix64 (Steele et al., 2014) of a counter, begun by the name."""
    start = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    count = int(np.prod(shape, dtype=np.int64))
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(start)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words: Words = (z ^ (z >> np.uint64(31))).reshape(shape)
    return words


def integers(stream: str, shape: Sequence[int], low: int, high: int) -> npt.NDArray[np.int64]:
    """Return integers from `low` to `high`, both included."""
    span = np.uint64(high - low + 1)
    draws: Words = (hashed(stream, shape) >> np.uint64(16)) % span
    return draws.astype(np.int64) + low


def activations(stream: str, rows: int, columns: int) -> Floats:
    """Return float32 [rows, columns], odd multiples of 2^-7 up to 2, or up to 32 in some groups.

    With two groups of 32 or more, one group of each row is zero: its int8 scale is, too.
    """
    groups = -(-columns // GROUP)
    values = (2 * integers(stream, (rows, groups, GROUP), -128, 127) + 1) * 2.0**-7
    loud = integers(stream + " loud", (rows, groups, 1), 0, 31) == 0
    values = np.where(loud, values * 16, values)
    if groups > 1:
        silent = integers(stream + " silent", (rows,), 0, groups - 1)
        values[np.arange(rows), silent] = 0
    found: Floats = values.reshape(rows, -1)[:, :columns].astype(np.float32)
    return found


def gains(stream: str, size: int) -> Floats:
    """Return float32 [size], odd multiples of 1/8 below 2."""
    return ((2 * integers(stream, (size,), 0, 7) + 1) * 0.125).astype(np.float32)


def plain(stream: str, shape: Sequence[int]) -> Floats:
    """Return multiples of 2^-7 up to 2, which float16 holds exactly."""
    return (integers(stream, shape, -256, 256) * 2.0**-7).astype(np.float32)


def prototype_rows(name: str, matrix: GoldenMatrix) -> npt.NDArray[np.int64]:
    """Return [matrix.rows]: which of the prototypes each canonical row is.

    Of a pair, row n of gate is p(n) and row n of up is PROTOTYPES + p(n).
    """
    half = matrix.rows // 2 if matrix.pairs else matrix.rows
    order = integers(name + " order", (half,), 0, PROTOTYPES - 1)
    return np.concatenate([order, order + PROTOTYPES]) if matrix.pairs else order


def prototypes(name: str, matrix: GoldenMatrix) -> dict[str, Array]:
    """Return the canonical arrays of the prototypes, by suffix (docs/quantization.md).

    Scales are negative too. What pads the last group is not zero, and must not count.
    """
    count = 2 * PROTOTYPES if matrix.pairs else PROTOTYPES
    groups = -(-matrix.columns // GROUP)
    if matrix.storage in ("f16", "f32"):
        numbers = integers(name + " weight", (count, matrix.columns), -255, 255) * 2.0**-9
        return {"weight": numbers.astype("float16" if matrix.storage == "f16" else "float32")}
    arrays: dict[str, Array] = {}
    if matrix.storage == "q4":
        words = hashed(name + " codes", (count, groups * GROUP // 2))
        arrays["codes"] = (words >> np.uint64(24)).astype(np.uint8)
        smallest = 2.0**-8
    else:
        codes = integers(name + " codes", (count, groups * GROUP), -127, 127)
        arrays["codes"] = codes.astype(np.int8)
        smallest = 2.0**-12
    size = integers(name + " scale", (count, groups), 8, 31)
    sign = 2 * integers(name + " sign", (count, groups), 0, 1) - 1
    arrays["scale"] = (size * sign * smallest).astype(np.float16)
    if matrix.minimum:
        minimum = integers(name + " minimum", (count, groups), -31, 31) * 2.0**-5
        arrays["minimum"] = minimum.astype(np.float16)
    return arrays


def suffixes(matrix: GoldenMatrix) -> tuple[str, ...]:
    """Return the names of a matrix's canonical arrays."""
    if matrix.storage in ("f16", "f32"):
        return ("weight",)
    return ("codes", "scale", "minimum") if matrix.minimum else ("codes", "scale")


def canonical(name: str, matrix: GoldenMatrix, suffix: str) -> Array:
    """Return one canonical array of the whole matrix."""
    return np.take(prototypes(name, matrix)[suffix], prototype_rows(name, matrix), axis=0)


def tokens(name: str, rows: int, vocabulary: int) -> npt.NDArray[np.int32]:
    """Return int32 [rows] token ids: the first, the last, those beside a block's end, others."""
    ids = integers(name + " tokens", (rows,), 0, vocabulary - 1)
    fixed = [0, vocabulary - 1, 15, 16, vocabulary - 2]
    fixed = [token for token in fixed if 0 <= token < vocabulary]
    ids[: len(fixed)] = fixed[:rows]
    return ids.astype(np.int32)


def decode_positions(rows: int, context: int, window: int | None = None) -> list[int]:
    """Return the position of each decode row.

    Lengths are one, others, and for each end of a page or of tokens that are worked on together,
    after 32, 64 and 128 tokens, that and one token fewer and more. With a longer window some rows
    come behind its end.
    """
    wanted = [128, 0, 31, 256, 126, 30, 64, 32, 62, 200, 63, 127]
    if window is not None and wanted[3] <= window <= MOST_WINDOW:
        wanted[3], wanted[9] = window + 77, window
    return [min(wanted[row % len(wanted)], context - 1) for row in range(rows)]


def prefill_rows(rows: int, context: int) -> int:
    """Return how many rows of a prefill hold a token: one is padding."""
    return max(1, min(rows - 1, context))


def prefill_start(rows: int, context: int, window: int | None = None) -> int:
    """Return the position of the first row of prefill.

    The rows cross the end of a page and a chunk, or the end of a longer window.
    """
    start = 122
    if window is not None and start < window <= MOST_WINDOW:
        start = window - 5
    return max(0, min(start, context - rows))


def sinks(name: str, heads: int) -> Floats:
    """Return float32 [heads], about as large as scores are."""
    return 2 * plain(f"{name} sinks", (heads,))


def past(name: str, what: str, sequence: int, count: int, kv_heads: int, head_dim: int) -> Floats:
    """Return float32 [count, kv_heads, head_dim]: a sequence's keys or values before a step."""
    return plain(f"{name} {what} {sequence}", (count, kv_heads, head_dim))
