# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""What attention on cooperative matrices moves: queries, keys and values in, results out.

Names and the mapping: attention_cooperative.py.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.attention_cooperative_plan import FLOATS, WORDS
from ferrylm.schedules.gpu.attention_matrix_blocks import LOG2_E
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.cooperative_operations import load_left, store_sums, subgroup_barrier
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.operations import clustered_add


@T.inline
def pack_eight(floats, words):  # noqa: D103
    # Eight float32 as 16 bytes of halves.
    pair = T.alloc_buffer((2,), "float16", scope="local")
    for q in T.unroll(WORDS):
        pair[0] = T.cast(floats[2 * q], "float16")
        pair[1] = T.cast(floats[2 * q + 1], "float16")
        words[q] = T.reinterpret(pair[T.Ramp(0, 1, 2)], dtype="uint32")


@T.inline
def place_queries(q, near, first_row, subgroup, thread, kv_head, rows, plan):  # noqa: D103
    # A subgroup rounds its own rows into shared memory.
    floats = T.alloc_buffer((KEY_VECTOR,), "float32", scope="local")
    words = T.alloc_buffer((WORDS,), "uint32", scope="local")
    for i in T.unroll((plan.subgroup_rows * plan.vectors + plan.width - 1) // plan.width):
        e = T.meta_var(i * plan.width + thread % plan.width)
        own = T.meta_var(T.min(e // plan.vectors, plan.subgroup_rows - 1))
        row = T.meta_var(T.min(first_row + subgroup * plan.subgroup_rows + own, rows - 1))
        for half in T.unroll(2):
            for j in T.vectorized(FLOATS):
                floats[half * FLOATS + j] = q[
                    row // plan.heads,
                    kv_head * plan.heads + row % plan.heads,
                    e % plan.vectors * KEY_VECTOR + half * FLOATS + j,
                ]
        for j in T.unroll(KEY_VECTOR):
            floats[j] = floats[j] * T.float32(LOG2_E)
        pack_eight(floats, words)
        if plan.subgroup_rows * plan.vectors % plan.width == 0 or (
            e < plan.subgroup_rows * plan.vectors
        ):
            near[plan.queries_at(subgroup) + own * plan.token_stride + e % plan.vectors] = words[
                T.Ramp(0, 1, WORDS)
            ]
    T.evaluate(subgroup_barrier())


@T.inline
def load_query(near, queries, subgroup, f, s, plan):  # noqa: D103
    T.evaluate(
        load_left(
            queries[plan.query(f, s)],
            near[
                plan.queries_at(subgroup)
                + f * plan.size * plan.token_stride
                + s * (plan.size // KEY_VECTOR)
            ],
            plan.token_stride,
            (plan.size, plan.size, plan.size),
        )
    )


@T.inline
def load_queries(near, queries, subgroup, plan):  # noqa: D103
    # Where registers hold them the whole time.
    if not plan.tile.near:
        for f in T.unroll(plan.tile.row_tiles):
            for s in T.unroll(plan.depths):
                load_query(near, queries, subgroup, f, s, plan)


@T.inline
def fetch_keys(keys, held, places, thread, kv_head, plan):  # noqa: D103
    for b in T.unroll(plan.blocks):
        for i in T.unroll(plan.copies):
            e = T.meta_var(T.min(i * plan.threads + thread, BLOCK * plan.vectors - 1))
            held[T.Ramp((b * plan.copies + i) * WORDS, 1, WORDS)] = T.reinterpret(
                keys[
                    places[3 * b], kv_head, e // BLOCK,
                    places[3 * b + 1] + T.min(e % BLOCK, places[3 * b + 2]),
                    T.Ramp(0, 1, KEY_VECTOR),
                ],
                dtype="uint32x4",
            )  # fmt: skip


@T.inline
def fetch_values(values, held, places, thread, kv_head, plan):  # noqa: D103
    for b in T.unroll(plan.blocks):
        for i in T.unroll(plan.copies):
            e = T.meta_var(T.min(i * plan.threads + thread, BLOCK * plan.vectors - 1))
            held[T.Ramp((b * plan.copies + i) * WORDS, 1, WORDS)] = T.reinterpret(
                values[
                    places[3 * b], kv_head,
                    places[3 * b + 1] + T.min(e // plan.vectors, places[3 * b + 2]),
                    T.Ramp(e % plan.vectors * KEY_VECTOR, 1, KEY_VECTOR),
                ],
                dtype="uint32x4",
            )  # fmt: skip


@T.inline
def place_held(near, held, thread, of_keys, plan):  # noqa: D103
    for b in T.unroll(plan.blocks):
        for i in T.unroll(plan.copies):
            e = T.meta_var(i * plan.threads + thread)
            token = T.meta_var(e % BLOCK if of_keys else e // plan.vectors)
            vector = T.meta_var(e // BLOCK if of_keys else e % plan.vectors)
            first = T.meta_var(0 if of_keys else plan.values_at)
            if plan.whole_copies or e < BLOCK * plan.vectors:
                near[first + (b * BLOCK + token) * plan.token_stride + vector] = held[
                    T.Ramp((b * plan.copies + i) * WORDS, 1, WORDS)
                ]


@T.inline
def store_four(near, out, factor, real, at, token, column):  # noqa: D103
    floats = T.alloc_buffer((FLOATS,), "float32", scope="local")
    floats[T.Ramp(0, 1, FLOATS)] = T.reinterpret(near[at], dtype="float32x4")
    for j in T.unroll(FLOATS):
        floats[j] = T.Select(real, floats[j] * factor, T.float32(0))
    for j in T.vectorized(FLOATS):
        out[token, column + j] = floats[j]


@T.inline
def store(  # noqa: D103
    near, out, output, position, total, first_row, subgroup, lane, kv_head, rows, plan
):
    # A matrix after the other goes through the place of the scores.
    whole = T.alloc_buffer((1,), "float32", scope="local")
    each = T.meta_var(plan.size // plan.row_lanes)
    for f in T.unroll(plan.tile.row_tiles):
        at = T.meta_var(plan.scores_at(subgroup, f))
        row = T.meta_var(
            first_row + subgroup * plan.subgroup_rows + f * plan.size + lane // plan.row_lanes
        )
        whole[0] = T.float32(1) / clustered_add(total[f], plan.row_lanes)
        for n in T.unroll(plan.depths):
            T.evaluate(store_sums(output[f * plan.depths + n], near[at], plan.score_stride))
            T.evaluate(subgroup_barrier())
            if row < rows:
                for i in T.unroll(each // FLOATS):
                    store_four(
                        near, out, whole[0], position[f] >= 0,
                        at
                        + lane // plan.row_lanes * plan.score_stride
                        + lane % plan.row_lanes * (each // FLOATS)
                        + i,
                        row // plan.heads,
                        (kv_head * plan.heads + row % plan.heads) * plan.head_dim
                        + n * plan.size
                        + lane % plan.row_lanes * each
                        + i * FLOATS,
                    )  # fmt: skip
            T.evaluate(subgroup_barrier())
