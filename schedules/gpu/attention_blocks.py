# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""The pieces of attention of a prompt over paged keys and values, on GPUs.

A workgroup has rows r = 0 .. queries * R - 1: R query heads of each of its query tokens, all of one
KV head. It walks tokens in chunks: scores with a token per lane, a softmax with a row per subgroup,
values with four elements of the head per lane. Names and layouts are those of attention.py.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import adjusted, adjusts, sees
from ferrylm.schedules.gpu.attention_plan import VALUE_VECTOR
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.operations import fma, subgroup_add, subgroup_max

MASKED = -1e30  # the score of a token that a query must not see


@T.inline
def load_queries(q, queries, thread, first_row, first_head, plan):  # noqa: D103
    # Zeros fill a head up to whole vectors: the memory may hold what is not a number, and a key's
    # zeros do not take that away.
    width = T.meta_var(plan.vectors * KEY_VECTOR)
    for i in T.serial((plan.rows * width + plan.threads - 1) // plan.threads):
        e = T.meta_var(i * plan.threads + thread)
        if e < plan.rows * width:
            queries[e // width, e % width] = T.float32(0)
            if e % width < plan.head_dim:
                queries[e // width, e % width] = q[
                    first_row + e // width // plan.heads,
                    first_head + e // width % plan.heads,
                    e % width,
                ]


@T.inline
def score_chunk(  # noqa: D103
    queries, keys, tables, positions, scores, places, thread, sequence, first_row, kv_head, first,
    last, plan, page_size,
):  # fmt: skip
    key = T.alloc_buffer((plan.key_unroll * KEY_VECTOR,), plan.kv_dtype, scope="local")
    sums = T.alloc_buffer((plan.score_rows,), "float32", scope="local")
    place = T.alloc_buffer((2,), "int32", scope="local")
    for i in T.serial(plan.chunk // plan.score_lanes):
        slot = T.meta_var(i * plan.score_lanes + thread % plan.score_lanes)
        # Lanes beyond the last token take its place: what they read exists and weighs nothing.
        place[0] = tables[sequence, T.truncdiv(T.min(first + slot, last - 1), page_size)]
        place[1] = T.truncmod(T.min(first + slot, last - 1), page_size)
        if thread < plan.score_lanes:
            places[slot, 0] = place[0]
            places[slot, 1] = place[1]
        for r in T.unroll(plan.score_rows):
            sums[r] = T.float32(0)
        for v in T.serial(plan.vectors // plan.key_unroll):
            for u in T.unroll(plan.key_unroll):
                for j in T.vectorized(KEY_VECTOR):
                    key[u * KEY_VECTOR + j] = keys[
                        place[0], kv_head, v * plan.key_unroll + u, place[1], j
                    ]
            for r in T.unroll(plan.score_rows):
                for j in T.unroll(plan.key_unroll * KEY_VECTOR):
                    sums[r] = fma(
                        T.cast(key[j], "float32"),
                        queries[plan.score_row(thread, r), v * plan.key_unroll * KEY_VECTOR + j],
                        sums[r],
                    )
        for r in T.unroll(plan.score_rows):
            row = T.meta_var(plan.score_row(thread, r))
            position = T.meta_var(positions[first_row + row // plan.heads])
            if adjusts(plan.shape.variant):
                head = T.meta_var(kv_head * plan.heads + row % plan.heads)
                sums[r] = adjusted(
                    sums[r], first + slot - position, plan.slope(head),
                    plan.shape.variant.soft_cap, T.exp,
                )  # fmt: skip
            scores[row, slot] = T.Select(
                sees(first + slot, position, plan.shape.variant),
                sums[r],
                T.float32(MASKED),
            )


@T.inline
def softmax_chunk(scores, largest, total, factor, thread, plan):  # noqa: D103
    found = T.alloc_buffer((3,), "float32", scope="local")
    lane = T.meta_var(thread % plan.subgroup)
    for i in T.serial((plan.rows + plan.subgroups - 1) // plan.subgroups):
        r = T.meta_var(i * plan.subgroups + thread // plan.subgroup)
        if r < plan.rows:
            found[0] = largest[r]
            for j in T.unroll(plan.chunk // plan.subgroup):
                found[0] = T.max(found[0], scores[r, j * plan.subgroup + lane])
            found[0] = subgroup_max(found[0])
            found[1] = T.float32(0)
            for j in T.unroll(plan.chunk // plan.subgroup):
                # A masked token weighs nothing, also where a row has none but masked ones.
                # In this order of operands a score that is not a number stays one.
                found[2] = T.Select(
                    scores[r, j * plan.subgroup + lane] <= T.float32(MASKED),
                    T.float32(0),
                    T.exp(scores[r, j * plan.subgroup + lane] - found[0]),
                )
                scores[r, j * plan.subgroup + lane] = found[2]
                found[1] = found[1] + found[2]
            found[1] = subgroup_add(found[1])
            if lane == 0:
                factor[r] = T.exp(largest[r] - found[0])
                total[r] = total[r] * T.exp(largest[r] - found[0]) + found[1]
                largest[r] = found[0]


@T.inline
def rescale(output, factor, thread, plan):  # noqa: D103
    for i in T.unroll(plan.rows_a_lane):
        for j in T.unroll(VALUE_VECTOR):
            output[i * VALUE_VECTOR + j] = (
                output[i * VALUE_VECTOR + j] * factor[plan.row(thread, i)]
            )


@T.inline
def weigh_values(scores, values, places, output, thread, kv_head, plan):  # noqa: D103
    value = T.alloc_buffer((plan.unroll * VALUE_VECTOR,), plan.kv_dtype, scope="local")
    if thread < plan.value_threads:
        for step in T.serial(plan.chunk // plan.token_stripes // plan.unroll):
            for u in T.unroll(plan.unroll):
                slot = T.meta_var(
                    (step * plan.unroll + u) * plan.token_stripes + plan.token_stripe(thread)
                )
                for j in T.vectorized(VALUE_VECTOR):
                    value[u * VALUE_VECTOR + j] = values[
                        places[slot, 0], kv_head, places[slot, 1],
                        plan.vector(thread) * VALUE_VECTOR + j,
                    ]  # fmt: skip
            for u in T.unroll(plan.unroll):
                slot = T.meta_var(
                    (step * plan.unroll + u) * plan.token_stripes + plan.token_stripe(thread)
                )
                for i in T.unroll(plan.rows_a_lane):
                    for j in T.unroll(VALUE_VECTOR):
                        output[i * VALUE_VECTOR + j] = fma(
                            scores[plan.row(thread, i), slot],
                            T.cast(value[u * VALUE_VECTOR + j], "float32"),
                            output[i * VALUE_VECTOR + j],
                        )


@T.inline
def add_stripes(output, partial, thread, plan):  # noqa: D103
    # Lanes of other stripes hold the same elements summed over other tokens.
    if thread < plan.value_threads:
        for i in T.unroll(plan.rows_a_lane * VALUE_VECTOR):
            partial[i, thread] = output[i]
    T.tvm_storage_sync("shared")
    if thread < plan.value_threads and plan.token_stripe(thread) == 0:
        for s in T.serial(plan.token_stripes - 1):
            for i in T.unroll(plan.rows_a_lane * VALUE_VECTOR):
                output[i] = output[i] + partial[i, thread + (s + 1) * plan.stripe_threads]
