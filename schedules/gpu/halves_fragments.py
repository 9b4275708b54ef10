# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Weights as fragments of halves for matrix units.

A lane holds one group of each of two rows: the words of layout.py. Code c becomes the half 1024 + c
by setting bits, the words' upper nibbles 1024 + 16 c; what is too much goes by exact arithmetic,
then one rounding makes scale * code, or scale * code + minimum. Less than two instructions each.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.halves import CHUNK
from ferrylm.schedules.gpu.layout import GROUP
from ferrylm.schedules.gpu.operations import half2_fma, half2_mul, half2_sub, lop3
from ferrylm.schedules.gpu.rounded_rows import WORDS

_AND_OR = 0xEA  # lop3's table of (a & b) | c
_MAGIC = 0x64006400  # 1024 in both halves
_LOW, _HIGH = 0x000F000F, 0x00F000F0
_BYTES, _SIGNS = 0x00FF00FF, 0x80808080
_SIXTEENTH = 0x2C002C00
# What is taken away: 1024 + 8, or 1024 where a minimum is added; a sixteenth of it from above;
# and 1024 + 128 of bytes.
_LOW_BIAS = {False: 0x64086408, True: 0x64006400}
_HIGH_BIAS = {False: 0xD480D480, True: 0xD400D400}
_BYTE_BIAS = 0x64806480


@T.inline
def load_codes(codes, scale, minimum, words, terms, band, thread, chunk, index, rows):  # noqa: D103
    # A lane's two rows of a band, the index-th of those that it holds.
    fmt = T.meta_var(rows.product.fmt)
    for half in T.unroll(2):
        row = T.meta_var(rows.matrix_row(band, thread, half))
        group = T.meta_var(rows.group(thread, chunk))
        for plane in T.unroll(fmt.words // 4):
            for j in T.vectorized(4):
                words[((2 * index + half) * fmt.words // 4 + plane) * 4 + j] = codes[
                    row, group, plane * 4 + j
                ]
        terms[2 * index + half, 0] = scale[row, group]
        if fmt.minimum:
            terms[2 * index + half, 1] = minimum[row, group]


@T.inline
def scaled(fragment, index, row, factors, minimum):  # noqa: D103
    if minimum:
        fragment[index] = half2_fma(fragment[index], factors[row, 0], factors[row, 1])
    else:
        fragment[index] = half2_mul(fragment[index], factors[row, 0])


@T.inline
def make_batch(words, factors, fragment, place, batch, steps, band, fmt):  # noqa: D103
    # Register 2 * side + half of a step: rows l / 4 and 8 + l / 4, and the step's two sides.
    word = T.alloc_buffer((1,), "uint32", scope="local")
    for step in T.unroll(steps):
        for half in T.unroll(2):
            for side in T.unroll(2):
                index = T.meta_var(place + step * 4 + side * 2 + half)
                row = T.meta_var(2 * band + half)
                i = T.meta_var((batch * steps + step) // 2)
                if fmt.storage == "q4":
                    word[0] = T.shift_right(words[row * 4 + i], T.uint32(8 * side))
                    if step % 2 == 0:
                        fragment[index] = half2_sub(
                            lop3(word[0], T.uint32(_LOW), T.uint32(_MAGIC), _AND_OR),
                            T.uint32(_LOW_BIAS[fmt.minimum]),
                        )
                    else:
                        fragment[index] = half2_fma(
                            lop3(word[0], T.uint32(_HIGH), T.uint32(_MAGIC), _AND_OR),
                            T.uint32(_SIXTEENTH),
                            T.uint32(_HIGH_BIAS[fmt.minimum]),
                        )
                else:
                    word[0] = T.shift_right(
                        T.bitwise_xor(words[row * 8 + step % 2 * 4 + i], T.uint32(_SIGNS)),
                        T.uint32(8 * side),
                    )
                    fragment[index] = half2_sub(
                        lop3(word[0], T.uint32(_BYTES), T.uint32(_MAGIC), _AND_OR),
                        T.uint32(_BYTE_BIAS),
                    )
                scaled(fragment, index, row, factors, fmt.minimum)


@T.inline
def load_plain(weight, words, band, thread, chunk, batch, rows):  # noqa: D103
    # Weights of two steps that are not quantized. Beyond the last column activations are zero.
    for half in T.unroll(2):
        column = T.meta_var(
            T.min(chunk * CHUNK + batch * GROUP + thread % 4 * 8, rows.product.fmt.columns - 8)
        )
        words[T.ramp((batch % 2 * 2 + half) * WORDS, 1, WORDS)] = T.reinterpret(
            weight[rows.matrix_row(band, thread, half), T.ramp(column, 1, 8)], dtype="uint32x4"
        )


@T.inline
def take_plain(words, fragment, place, batch):  # noqa: D103
    for step in T.unroll(2):
        for side in T.unroll(2):
            for half in T.unroll(2):
                fragment[place + step * 4 + side * 2 + half] = words[
                    (batch % 2 * 2 + half) * WORDS + step * 2 + side
                ]
