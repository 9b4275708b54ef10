# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Parts of a product on cooperative matrices: fill a stage in shared memory, multiply it.

Codes become halves as halves_fragments.py says: code c is the half 1024 + c by setting bits, what
is too much goes by exact arithmetic, and one rounding makes scale * code, or with a minimum two.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.cooperative_grid import VECTOR
from ferrylm.schedules.gpu.cooperative_operations import load_left, load_right, multiply_add

_MAGIC = 0x64006400  # 1024 in both halves
_LOW, _HIGH = 0x000F000F, 0x00F000F0
_BYTES, _SIGNS = 0x00FF00FF, 0x80808080


def half2(word: Any) -> Any:
    """Return a word as two halves."""
    return T.reinterpret(word, dtype="float16x2")


def both(number: Any) -> Any:
    """Return a half twice."""
    return T.Broadcast(number, 2)


def bits(number: Any) -> Any:
    """Return a half as a word: two halves in one register would wait for both loads at once."""
    return T.cast(T.reinterpret(number, dtype="uint16"), "uint32")


def both_of(word: Any) -> Any:
    """Return the half that `bits` made a word of, twice."""
    return both(T.reinterpret(T.cast(word, "uint16"), dtype="float16"))


def magic(word: Any, mask: int) -> Any:
    """Return 1024 plus the masked bits of both halves of a word."""
    return half2(T.bitwise_or(T.bitwise_and(word, T.uint32(mask)), T.uint32(_MAGIC)))


@T.inline
def load_stage(  # noqa: D103
    x, codes, scale, minimum, rows, words, terms, first_row, last_row, workgroup, thread, chunk,
    grid,
):  # fmt: skip
    # From global memory to registers: a thread's share of the stage `chunk`.
    fmt, columns, held = T.meta_var((grid.product.fmt, grid.tile.columns, grid.lane_words))
    vectors = T.meta_var(columns // VECTOR)
    for i in T.unroll(grid.row_vectors // grid.threads):
        index = T.meta_var(i * grid.threads + thread)
        for j in T.vectorized(4):
            rows[i * 4 + j] = x[
                T.min(first_row + index // vectors, last_row),
                chunk * (columns // 2) + index % vectors * 4 + j,
            ]
    for i in T.unroll(grid.lane_units):
        row, group, word = T.meta_var(grid.unit(i * grid.threads + thread))
        source = T.meta_var(grid.matrix_row(workgroup, row, T.min))
        at = T.meta_var(T.min(chunk * (columns // 32) + group, grid.last_group))
        for plane in T.unroll(fmt.words // 4):
            for j in T.vectorized(held):
                words[(i * (fmt.words // 4) + plane) * held + j] = codes[
                    source, at, plane * 4 + word + j
                ]
        terms[i, 0] = bits(scale[source, at])
        if fmt.minimum:
            terms[i, 1] = bits(minimum[source, at])


@T.inline
def decode_word(words, terms, vector, i, j, grid):  # noqa: D103
    # Word j of a thread's i-th run: 16 bytes of halves.
    fmt, held = T.meta_var((grid.product.fmt, grid.lane_words))
    word = T.alloc_buffer((1,), "uint32", scope="local")
    code = T.alloc_buffer((2,), "float16", scope="local")
    pair = T.meta_var(T.Ramp(0, 1, 2))
    for q in T.unroll(4):
        if fmt.storage == "q4":
            word[0] = T.shift_right(words[i * held + j], T.uint32(8 * (q % 2)))
            if q // 2 == 0:
                code[pair] = magic(word[0], _LOW) - both(T.float16(1024 if fmt.minimum else 1032))
            else:
                code[pair] = magic(word[0], _HIGH) * both(T.float16(1 / 16)) - both(
                    T.float16(64 if fmt.minimum else 72)
                )
        else:
            word[0] = T.shift_right(
                T.bitwise_xor(words[(2 * i + q // 2) * held + j], T.uint32(_SIGNS)),
                T.uint32(8 * (q % 2)),
            )
            code[pair] = magic(word[0], _BYTES) - both(T.float16(1152))
        code[pair] = code[pair] * both_of(terms[i, 0])
        if fmt.minimum:
            code[pair] = code[pair] + both_of(terms[i, 1])
        vector[q] = T.reinterpret(code[pair], dtype="uint32")


@T.inline
def store_stage(rows, words, terms, staging, thread, first, grid):  # noqa: D103
    # From registers to the stage that begins at the vector `first`; codes become halves.
    vector = T.alloc_buffer((4,), "uint32", scope="local")
    vectors = T.meta_var(grid.tile.columns // VECTOR)
    for i in T.unroll(grid.row_vectors // grid.threads):
        index = T.meta_var(i * grid.threads + thread)
        staging[first + index // vectors * grid.stride + index % vectors] = rows[
            T.Ramp(i * 4, 1, 4)
        ]
    for i in T.unroll(grid.lane_units):
        row, group, word = T.meta_var(grid.unit(i * grid.threads + thread))
        for j in T.unroll(grid.lane_words):
            decode_word(words, terms, vector, i, j, grid)
            staging[first + (grid.rows + row) * grid.stride + group * 4 + word + j] = vector[
                T.Ramp(0, 1, 4)
            ]


@T.inline
def multiply_stage(staging, sums, left, right, first, subgroup, grid):  # noqa: D103
    tile, shape = T.meta_var((grid.tile, grid.shape))
    row = T.meta_var(subgroup // tile.output_subgroups * (tile.row_tiles * shape[0]))
    output = T.meta_var(grid.rows + subgroup % tile.output_subgroups * grid.subgroup_rows)
    for step in T.unroll(tile.columns // shape[2]):
        column = T.meta_var(step * (shape[2] // VECTOR))
        for i in T.unroll(tile.row_tiles):
            at = T.meta_var(first + (row + i * shape[0]) * grid.stride + column)
            T.evaluate(load_left(left[i], staging[at], grid.stride, shape))
        for i in T.unroll(tile.output_tiles):
            at = T.meta_var(first + (output + i * shape[1]) * grid.stride + column)
            T.evaluate(load_right(right[0], staging[at], grid.stride, shape))
            for j in T.unroll(tile.row_tiles):
                T.evaluate(multiply_add(sums[j * tile.output_tiles + i], left[j], right[0]))
