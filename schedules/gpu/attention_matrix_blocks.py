# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""The pieces of attention on matrix units; names, layouts and the mapping: attention_matrix.py.

In a fragment lane l has, of the first operand, rows l / 4 and 8 + l / 4; of the second, column
l / 4; of the result, both rows and columns 2 (l % 4) and one more (PTX ISA, mma.m16n8k16). So the
weights of values are an operand as they come out of the scores: no lane needs another's.
"""

from __future__ import annotations

import math
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import sees
from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_matrix_operations import (
    copy_async,
    exp2_approximate,
    load_fragments,
    load_fragments_transposed,
    multiply_halves,
)
from ferrylm.schedules.gpu.attention_matrix_plan import (
    COLUMNS,
    DEPTH,
    PAIR,
    ROWS,
    VECTOR_WORDS,
    WIDTH,
)
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.operations import half2_pack, subgroup_max, subgroup_shuffle_xor

LOG2_E = math.log2(math.e)
# The largest weight of a row so far counts as 2^WEIGHT_BITS: it rounds to float16, and so weights
# down to 2^-28 of it are normal numbers there.
WEIGHT_BITS = 14


def vector_at(near: Any, index: Any) -> Any:
    """Return the address of 16 bytes in shared memory.

    It is that of all four words: TVM cuts a buffer down to those that it sees in use.
    """
    return T.address_of(near[T.ramp(index * VECTOR_WORDS, 1, VECTOR_WORDS)])


@T.inline
def find_rows(positions, position, reach, thread, first_row, extent, plan):  # noqa: D103
    # reach: the least and the greatest position of the subgroup, tokens of the workgroup.
    for i in T.unroll(plan.lane_rows):
        position[i] = T.int32(-1)
        if first_row + plan.row(thread, i) < extent:
            position[i] = positions[first_row + plan.row(thread, i)]
    reach[0] = -position[0]
    reach[1] = position[0]
    for i in T.unroll(plan.lane_rows - 1):
        reach[0] = T.max(reach[0], -position[i + 1])
        reach[1] = T.max(reach[1], position[i + 1])
    reach[0] = -subgroup_max(reach[0])
    reach[1] = subgroup_max(reach[1])
    reach[2] = T.int32(0)
    for i in T.unroll(plan.rows // WIDTH):
        row = T.meta_var(first_row + i * WIDTH + thread % WIDTH)
        if row < extent:
            reach[2] = T.max(reach[2], positions[row] + 1)
    reach[2] = subgroup_max(reach[2])


@T.inline
def copy_queries(q, near, thread, first_row, extent, head, plan):  # noqa: D103
    # Rows of one vector lie side by side; a subgroup copies those that it reads later.
    rows = T.meta_var(plan.tile.fragments * ROWS)
    for i in T.unroll(rows * plan.vectors // WIDTH):
        e = T.meta_var(i * WIDTH + thread % WIDTH)
        row = T.meta_var(thread // WIDTH * rows + e % rows)
        for j in T.unroll(VECTOR_WORDS):
            d = T.meta_var(e // rows * KEY_VECTOR + 2 * j)
            near[(plan.queries_at + e // rows * plan.rows + row) * VECTOR_WORDS + j] = half2_pack(
                q[T.min(first_row + row, extent - 1), head, d] * T.float32(LOG2_E),
                q[T.min(first_row + row, extent - 1), head, d + 1] * T.float32(LOG2_E),
            )


@T.inline
def load_queries(q, queries, near, thread, first_row, extent, head, plan):  # noqa: D103
    if plan.tile.near:
        copy_queries(q, near, thread, first_row, extent, head, plan)
    else:
        for f in T.unroll(plan.tile.fragments):
            for s in T.unroll(plan.depths):
                for i in T.unroll(4):
                    row = T.meta_var(T.min(first_row + plan.row(thread, 2 * f + i % 2), extent - 1))
                    d = T.meta_var(s * DEPTH + i // 2 * 8 + thread % 4 * 2)
                    queries[plan.query(f, s) + i] = half2_pack(
                        q[row, head, d] * T.float32(LOG2_E), q[row, head, d + 1] * T.float32(LOG2_E)
                    )


@T.inline
def find_places(tables, cursor, places, last, page_size, plan):  # noqa: D103
    # cursor: index in the table, slot in the page, token; places: page, slot, last valid offset.
    # Blocks beyond the last one take its place: what is read exists and weighs nothing.
    for b in T.unroll(plan.blocks):
        places[3 * b] = tables[0, cursor[0]]
        places[3 * b + 1] = cursor[1]
        places[3 * b + 2] = T.min(last - 1 - cursor[2], BLOCK - 1)
        if cursor[2] + BLOCK < last:
            cursor[2] = cursor[2] + BLOCK
            cursor[1] = cursor[1] + BLOCK
            if cursor[1] == page_size:
                cursor[1] = 0
                cursor[0] = cursor[0] + 1


@T.inline
def copy_keys(keys, near, places, thread, kv_head, plan):  # noqa: D103
    for b in T.unroll(plan.blocks):
        for i in T.unroll(plan.copies):
            e = T.meta_var(i * plan.threads + thread)
            if plan.whole_copies or e < BLOCK * plan.vectors:
                T.evaluate(
                    copy_async(
                        vector_at(near, e // BLOCK * plan.tokens + b * BLOCK + e % BLOCK),
                        T.address_of(
                            keys[
                                places[3 * b], kv_head, e // BLOCK,
                                places[3 * b + 1] + T.min(e % BLOCK, places[3 * b + 2]), 0,
                            ]
                        ),
                    )
                )  # fmt: skip


@T.inline
def copy_values(values, near, places, thread, kv_head, plan):  # noqa: D103
    for b in T.unroll(plan.blocks):
        for i in T.unroll(plan.copies):
            e = T.meta_var(i * plan.threads + thread)
            if plan.whole_copies or e < BLOCK * plan.vectors:
                T.evaluate(
                    copy_async(
                        vector_at(
                            near,
                            plan.values_at
                            + (b * BLOCK + e // plan.vectors) * plan.value_stride
                            + e % plan.vectors,
                        ),
                        T.address_of(
                            values[
                                places[3 * b], kv_head,
                                places[3 * b + 1] + T.min(e // plan.vectors, places[3 * b + 2]),
                                e % plan.vectors * KEY_VECTOR,
                            ]
                        ),
                    )
                )  # fmt: skip


@T.inline
def score(queries, near, scores, thread, plan):  # noqa: D103
    # One load: both halves of the depth of two fragments of eight tokens.
    operand = T.alloc_buffer((4,), "uint32", scope="local")
    fragment = T.alloc_buffer((4 * plan.tile.fragments,), "uint32", scope="local")
    lane = T.meta_var(thread % WIDTH)
    for i in T.unroll(plan.tile.fragments * plan.score_tiles * 4):
        scores[i] = T.float32(0)
    for s in T.unroll(plan.depths):
        for f in T.unroll(plan.tile.fragments):
            if plan.tile.near:
                fragment[T.ramp(4 * f, 1, 4)] = load_fragments(
                    vector_at(
                        near,
                        plan.queries_at
                        + (2 * s + lane // ROWS) * plan.rows
                        + (thread // WIDTH * plan.tile.fragments + f) * ROWS
                        + lane % ROWS,
                    )
                )
            else:
                for i in T.unroll(4):
                    fragment[4 * f + i] = queries[plan.query(f, s) + i]
        for n in T.unroll(plan.score_tiles // PAIR):
            operand[T.ramp(0, 1, 4)] = load_fragments(
                vector_at(
                    near,
                    (2 * s + lane // 8 % 2) * plan.tokens
                    + n * PAIR * COLUMNS
                    + lane // ROWS * COLUMNS
                    + lane % COLUMNS,
                )
            )
            for f in T.unroll(plan.tile.fragments):
                for j in T.unroll(PAIR):
                    at = T.meta_var(plan.score(f, n * PAIR + j))
                    scores[T.ramp(at, 1, 4)] = multiply_halves(
                        fragment[T.ramp(4 * f, 1, 4)],
                        operand[T.ramp(2 * j, 1, 2)],
                        scores[T.ramp(at, 1, 4)],
                    )


@T.inline
def mask(scores, position, thread, first, plan):  # noqa: D103
    for f in T.unroll(plan.tile.fragments):
        for n in T.unroll(plan.score_tiles):
            for i in T.unroll(4):
                token = T.meta_var(first + n * COLUMNS + thread % 4 * 2 + i % 2)
                scores[plan.score(f, n) + i] = T.Select(
                    sees(token, position[2 * f + i // 2], plan.shape.variant),
                    scores[plan.score(f, n) + i],
                    T.float32(MASKED),
                )


@T.inline
def softmax(scores, weights, output, largest, total, plan):  # noqa: D103
    found = T.alloc_buffer((3,), "float32", scope="local")
    for f in T.unroll(plan.tile.fragments):
        for h in T.unroll(2):
            found[0] = largest[2 * f + h]
            for n in T.unroll(plan.score_tiles):
                for j in T.unroll(2):
                    found[0] = T.max(found[0], scores[plan.score(f, n) + 2 * h + j])
            found[0] = T.max(found[0], subgroup_shuffle_xor(found[0], 1))
            found[0] = T.max(found[0], subgroup_shuffle_xor(found[0], 2))
            found[1] = exp2_approximate(largest[2 * f + h] - found[0])
            largest[2 * f + h] = found[0]
            found[0] = found[0] - T.float32(WEIGHT_BITS)
            found[2] = T.float32(0)
            for n in T.unroll(plan.score_tiles):
                for j in T.unroll(2):
                    at = T.meta_var(plan.score(f, n) + 2 * h + j)
                    scores[at] = exp2_approximate(scores[at] - found[0])
                    found[2] = found[2] + scores[at]
                weights[plan.score(f, n) // 2 + h] = half2_pack(
                    scores[plan.score(f, n) + 2 * h], scores[plan.score(f, n) + 2 * h + 1]
                )
            total[2 * f + h] = total[2 * f + h] * found[1] + found[2]
            for n in T.unroll(plan.output_tiles):
                for j in T.unroll(2):
                    at = T.meta_var(plan.output(f, n) + 2 * h + j)
                    output[at] = output[at] * found[1]


@T.inline
def weigh(weights, near, output, thread, plan):  # noqa: D103
    # One load: both halves of 16 tokens of two fragments of eight elements.
    operand = T.alloc_buffer((4,), "uint32", scope="local")
    lane = T.meta_var(thread % WIDTH)
    for k in T.unroll(plan.tokens // DEPTH):
        for n in T.unroll(plan.output_tiles // PAIR):
            operand[T.ramp(0, 1, 4)] = load_fragments_transposed(
                vector_at(
                    near,
                    plan.values_at
                    + (k * DEPTH + lane % ROWS) * plan.value_stride
                    + n * PAIR
                    + lane // ROWS,
                )
            )
            for f in T.unroll(plan.tile.fragments):
                for j in T.unroll(PAIR):
                    at = T.meta_var(plan.output(f, n * PAIR + j))
                    output[T.ramp(at, 1, 4)] = multiply_halves(
                        weights[T.ramp(plan.score(f, 2 * k) // 2, 1, 4)],
                        operand[T.ramp(2 * j, 1, 2)],
                        output[T.ramp(at, 1, 4)],
                    )


@T.inline
def store(out, output, position, total, thread, first_row, extent, head, plan):  # noqa: D103
    whole = T.alloc_buffer((1,), "float32", scope="local")
    for i in T.unroll(plan.lane_rows):
        whole[0] = total[i] + subgroup_shuffle_xor(total[i], 1)
        whole[0] = whole[0] + subgroup_shuffle_xor(whole[0], 2)
        whole[0] = T.float32(1) / whole[0]
        for n in T.unroll(plan.output_tiles):
            for j in T.unroll(2):
                at = T.meta_var(plan.output(i // 2, n) + i % 2 * 2 + j)
                output[at] = T.Select(position[i] >= 0, output[at] * whole[0], T.float32(0))
        if first_row + plan.row(thread, i) < extent:
            for n in T.unroll(plan.output_tiles):
                for j in T.vectorized(2):
                    out[
                        first_row + plan.row(thread, i),
                        head * plan.head_dim + n * COLUMNS + thread % 4 * 2 + j,
                    ] = output[plan.output(i // 2, n) + i % 2 * 2 + j]
