# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""What a multiplying warpgroup of attention does; names and mapping: attention_warpgroup.py.

Of 64 rows lane l of a warp has rows l / 4 and 8 + l / 4 of the warp's 16, and of eight columns
2 (l % 4) and one more (PTX ISA, wgmma, register fragments). So weights are a left matrix as they
come out of the scores.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_matrix_blocks import LOG2_E, WEIGHT_BITS
from ferrylm.schedules.gpu.attention_matrix_operations import exp2_approximate
from ferrylm.schedules.gpu.attention_warpgroup_copies import near_at
from ferrylm.schedules.gpu.attention_warpgroup_operations import (
    matrix_near,
    multiply_held,
    multiply_near,
    products_commit,
    signal_publish,
    turn_wait,
)
from ferrylm.schedules.gpu.attention_warpgroup_plan import (
    CORE_ROWS,
    DEPTH,
    GROUP_ROWS,
    GROUP_THREADS,
    VECTOR_BYTES,
    VECTOR_WORDS,
    WIDTH,
)
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.operations import (
    half2_pack,
    subgroup_broadcast,
    subgroup_max,
    subgroup_shuffle_xor,
)

CORE_BYTES = CORE_ROWS * VECTOR_BYTES
SWIZZLE_128, SWIZZLED_BYTES = 1, 1024  # of eight rows of 128 bytes; PTX ISA, matrix descriptor
FIRST_OWN_TURN = 3  # numbers of barriers: 0 is the workgroup's, 1 and 2 are for turns


@T.inline
def find_reach(positions, reach, thread, first, extent, plan):  # noqa: D103
    # reach: the tokens of the workgroup, and the first row's position, the least but for padding.
    reach[0] = T.int32(0)
    for i in T.unroll((plan.query_tokens + WIDTH - 1) // WIDTH):
        token = T.meta_var(T.truncdiv(first, plan.heads) + i * WIDTH + thread % WIDTH)
        if token < extent and i * WIDTH + thread % WIDTH < plan.query_tokens:
            reach[0] = T.max(reach[0], positions[token] + 1)
    reach[0] = subgroup_broadcast(subgroup_max(reach[0]), 0)
    reach[1] = subgroup_broadcast(positions[T.truncdiv(first, plan.heads)], 0)


@T.inline
def find_positions(positions, position, thread, first, extent, plan):  # noqa: D103
    for i in T.unroll(2):
        position[i] = T.int32(-1)
        token = T.meta_var(T.truncdiv(first + plan.row(thread, i), plan.heads))
        if token < extent:
            position[i] = positions[token]


@T.inline
def copy_queries(q, near, thread, first, extent, kv_head, plan):  # noqa: D103
    # A subgroup copies its 16 rows, eight lanes a core matrix; all of the warpgroup reads them.
    found = T.alloc_buffer((KEY_VECTOR,), "float32", scope="local")
    for i in T.unroll(16 * plan.vectors // WIDTH):
        row = T.meta_var(
            (thread - GROUP_THREADS) // WIDTH * 16 + i % 2 * CORE_ROWS + thread % CORE_ROWS
        )
        vector = T.meta_var(i // 2 * (WIDTH // CORE_ROWS) + thread % WIDTH // CORE_ROWS)
        at = T.meta_var(T.min(first + row, extent * plan.heads - 1))
        for j in T.unroll(2):
            for k in T.vectorized(4):
                found[4 * j + k] = q[
                    T.truncdiv(at, plan.heads),
                    kv_head * plan.heads + T.truncmod(at, plan.heads),
                    vector * KEY_VECTOR + 4 * j + k,
                ]
        for j in T.unroll(VECTOR_WORDS):
            near[(plan.queries_at + vector * plan.rows + row) * VECTOR_WORDS + j] = half2_pack(
                found[2 * j] * T.float32(LOG2_E), found[2 * j + 1] * T.float32(LOG2_E)
            )
    T.evaluate(signal_publish())
    T.evaluate(turn_wait(FIRST_OWN_TURN - 1 + thread // GROUP_THREADS, GROUP_THREADS))


@T.inline
def begin_scores(near, scores, turn, group, plan):  # noqa: D103
    left = T.alloc_buffer((1,), "uint64", scope="local")
    right = T.alloc_buffer((1,), "uint64", scope="local")
    left[0] = matrix_near(
        near_at(near, plan.queries_at + group * GROUP_ROWS), plan.rows * VECTOR_BYTES, CORE_BYTES
    )
    right[0] = matrix_near(
        near_at(near, T.truncmod(turn, plan.stages) * plan.tile_vectors),
        plan.tokens * VECTOR_BYTES,
        CORE_BYTES,
    )
    for s in T.unroll(plan.head_dim // DEPTH):
        T.evaluate(
            multiply_near(
                T.address_of(scores[0]),
                left[0] + T.cast(2 * s * plan.rows, "uint64"),
                right[0] + T.cast(2 * s * plan.tokens, "uint64"),
                T.if_then_else(s > 0, 1, 0),
                plan.tokens,
            )
        )
    T.evaluate(products_commit())


@T.inline
def begin_sums(near, weights, output, turn, plan):  # noqa: D103
    right = T.alloc_buffer((1,), "uint64", scope="local")
    right[0] = matrix_near(
        near_at(near, plan.values_at + T.truncmod(turn, plan.stages) * plan.tile_vectors),
        SWIZZLED_BYTES,
        plan.vectors // CORE_ROWS * SWIZZLED_BYTES,
        SWIZZLE_128,
    )
    for s in T.unroll(plan.tokens // DEPTH):
        T.evaluate(
            multiply_held(
                T.address_of(output[0]),
                T.address_of(weights[4 * s]),
                right[0] + T.cast(2 * s * CORE_ROWS * plan.vectors, "uint64"),
                plan.head_dim,
            )
        )
    T.evaluate(products_commit())


@T.inline
def mask(scores, position, thread, first, plan):  # noqa: D103
    for n in T.unroll(plan.tokens // 8):
        for i in T.unroll(4):
            scores[4 * n + i] = T.Select(
                first + n * 8 + thread % 4 * 2 + i % 2 <= position[i // 2],
                scores[4 * n + i],
                T.float32(MASKED),
            )


@T.inline
def softmax(scores, factor, largest, total, plan):  # noqa: D103
    # Of each row the even and the odd columns apart: four chains that do not wait for one another.
    found = T.alloc_buffer((4,), "float32", scope="local")
    for i in T.unroll(4):
        found[i] = scores[i]
    for n in T.unroll(plan.tokens // 8 - 1):
        for i in T.unroll(4):
            found[i] = T.max(found[i], scores[4 * (n + 1) + i])
    for h in T.unroll(2):
        found[2 * h] = T.max(found[2 * h], found[2 * h + 1])
    for d in T.unroll(2):
        for h in T.unroll(2):
            found[2 * h] = T.max(found[2 * h], subgroup_shuffle_xor(found[2 * h], d + 1))
    for h in T.unroll(2):
        found[2 * h] = T.max(found[2 * h], largest[h])
        factor[h] = exp2_approximate(largest[h] - found[2 * h])
        largest[h] = found[2 * h]
    for i in T.unroll(4):
        found[i] = T.float32(0)
    for n in T.unroll(plan.tokens // 8):
        for i in T.unroll(4):
            scores[4 * n + i] = exp2_approximate(
                scores[4 * n + i] - (largest[i // 2] - T.float32(WEIGHT_BITS))
            )
            found[i] = found[i] + scores[4 * n + i]
    for h in T.unroll(2):
        total[h] = total[h] * factor[h] + (found[2 * h] + found[2 * h + 1])


@T.inline
def make_weights(scores, weights, plan):  # noqa: D103
    for i in T.unroll(plan.scores // 2):
        weights[i] = half2_pack(scores[2 * i], scores[2 * i + 1])


@T.inline
def rescale(output, factor, plan):  # noqa: D103
    for n in T.unroll(plan.head_dim // 8):
        for i in T.unroll(4):
            output[4 * n + i] = output[4 * n + i] * factor[i // 2]


@T.inline
def store(out, output, position, total, thread, first, extent, kv_head, plan):  # noqa: D103
    whole = T.alloc_buffer((1,), "float32", scope="local")
    for i in T.unroll(2):
        at = T.meta_var(first + plan.row(thread, i))
        whole[0] = total[i] + subgroup_shuffle_xor(total[i], 1)
        whole[0] = whole[0] + subgroup_shuffle_xor(whole[0], 2)
        whole[0] = T.float32(1) / whole[0]
        for n in T.unroll(plan.head_dim // 8):
            for j in T.unroll(2):
                output[4 * n + 2 * i + j] = T.Select(
                    position[i] >= 0, output[4 * n + 2 * i + j] * whole[0], T.float32(0)
                )
        if at < extent * plan.heads:
            for n in T.unroll(plan.head_dim // 8):
                for j in T.vectorized(2):
                    out[
                        T.truncdiv(at, plan.heads),
                        (kv_head * plan.heads + T.truncmod(at, plan.heads)) * plan.head_dim
                        + n * 8
                        + thread % 4 * 2
                        + j,
                    ] = output[4 * n + 2 * i + j]
