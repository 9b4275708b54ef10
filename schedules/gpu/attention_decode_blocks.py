# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""What a subgroup does with its tokens in attention of a decode step, on GPUs.

`base` is the first of its tokens, one for each lane. The token at `position` is the step's own: its
key and value come from shared memory, rounded as pages hold them, and no page is read there, since
another lane may be writing it. What a lane reads for tokens beyond exists and weighs nothing.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import hides
from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.operations import fma, subgroup_add, subgroup_max, subgroup_shuffle_xor


@T.inline
def find_place(place, tables, m, base, index, position, page_size, plan):  # noqa: D103
    # Of token base + index, or of another one that this step does not write.
    place[1] = T.Select(position > base, T.min(index, position - 1 - base), 1)
    # A page holds whole blocks, and a subgroup's tokens begin with one.
    place[0] = base + (place[1] // BLOCK * BLOCK if plan.subgroup > BLOCK else 0)
    place[1] = T.truncmod(place[0], page_size) + (
        place[1] % BLOCK if plan.subgroup > BLOCK else place[1]
    )
    place[0] = tables[m, T.truncdiv(place[0], page_size)]


@T.inline
def load_key(key, keys, tables, m, kv_head, base, turn, lane, position, page_size, plan):  # noqa: D103
    place = T.alloc_buffer((2,), "int32", scope="local")
    find_place(place, tables, m, base, lane, position, page_size, plan)
    for u in T.unroll(plan.key_unroll):
        for j in T.vectorized(KEY_VECTOR):
            key[u * KEY_VECTOR + j] = keys[
                place[0], kv_head, turn * plan.key_unroll + u, place[1], j
            ]


@T.inline
def load_values(value, values, tables, m, kv_head, base, step, lane, position, page_size, plan):  # noqa: D103
    place = T.alloc_buffer((2,), "int32", scope="local")
    for u in T.unroll(plan.value_unroll):
        index = T.meta_var(
            step * plan.step_tokens + u * plan.token_lanes + lane // plan.value_lanes
        )
        find_place(place, tables, m, base, index, position, page_size, plan)
        for k in T.unroll(plan.lane_vectors):
            vector = T.meta_var(
                T.min(lane % plan.value_lanes + k * plan.value_lanes, plan.vectors - 1)
            )
            for j in T.vectorized(KEY_VECTOR):
                value[(u * plan.lane_vectors + k) * KEY_VECTOR + j] = values[
                    place[0], kv_head, place[1], vector * KEY_VECTOR + j
                ]


@T.inline
def multiply_key(  # noqa: D103
    sums, key, queries, keys, tables, m, kv_head, base, lane, position, page_size, plan
):
    elements = T.meta_var(plan.key_unroll * KEY_VECTOR)
    for i in T.unroll(plan.heads * plan.chains):
        sums[i] = T.float32(0)
    for turn in T.serial(plan.vectors // plan.key_unroll):
        for r in T.unroll(plan.heads):
            for j in T.unroll(elements):
                sums[r * plan.chains + j % plan.chains] = fma(
                    T.cast(key[j], "float32"),
                    queries[r, turn * elements + j],
                    sums[r * plan.chains + j % plan.chains],
                )
        if turn + 1 < plan.vectors // plan.key_unroll:
            load_key(key, keys, tables, m, kv_head, base, turn + 1, lane, position, page_size, plan)


@T.inline
def score(scores, key, queries, keys, tables, m, kv_head, base, lane, position, page_size, plan):  # noqa: D103
    if plan.chains == 1:
        multiply_key(
            scores, key, queries, keys, tables, m, kv_head, base, lane, position, page_size, plan
        )
    else:
        # The only head's sum would wait for each addition.
        sums = T.alloc_buffer((plan.chains,), "float32", scope="local")
        multiply_key(
            sums, key, queries, keys, tables, m, kv_head, base, lane, position, page_size, plan
        )
        scores[0] = sums[0]
        for i in T.unroll(plan.chains - 1):
            scores[0] = scores[0] + sums[i + 1]


@T.inline
def score_fresh(scores, queries, fresh, base, lane, position, plan):  # noqa: D103
    # By all lanes together: registers of keys with one lane's replaced would be twice as many.
    part = T.alloc_buffer((1,), "float32", scope="local")
    width = T.meta_var(plan.vectors * KEY_VECTOR)
    for r in T.unroll(plan.heads):
        part[0] = T.float32(0)
        for i in T.unroll(-(-width // plan.subgroup)):
            if i * plan.subgroup + lane < width:
                part[0] = fma(
                    fresh[0, i * plan.subgroup + lane],
                    queries[r, i * plan.subgroup + lane],
                    part[0],
                )
        part[0] = subgroup_add(part[0])
        scores[r] = T.Select(base + lane == position, part[0], scores[r])


@T.inline
def soften(  # noqa: D103
    scores, weights, fresh_weights, output, best, total, token, position, subgroup, lane, plan
):
    found = T.alloc_buffer((3,), "float32", scope="local")
    for r in T.unroll(plan.heads):
        hidden = T.meta_var(hides(token, position, plan.shape.variant))
        scores[r] = T.Select(hidden, T.float32(MASKED), scores[r])
        found[0] = T.max(best[r], subgroup_max(scores[r]))
        # In this order of operands a score that is not a number stays one.
        found[1] = T.Select(
            scores[r] <= T.float32(MASKED), T.float32(0), T.exp(scores[r] - found[0])
        )
        found[2] = T.exp(best[r] - found[0])
        weights[subgroup, r, lane] = T.Select(token == position, T.float32(0), found[1])
        if token == position:
            fresh_weights[r] = found[1]
        total[r] = total[r] * found[2] + found[1]
        best[r] = found[0]
        for j in T.unroll(plan.lane_vectors * KEY_VECTOR):
            output[r * plan.lane_vectors * KEY_VECTOR + j] = (
                output[r * plan.lane_vectors * KEY_VECTOR + j] * found[2]
            )


@T.inline
def weigh(  # noqa: D103
    output, weights, value, values, tables, m, kv_head, base, subgroup, lane, position, page_size,
    plan,
):  # fmt: skip
    # Of tokens that pages hold alone: what was loaded for others may be anything.
    count = T.meta_var(T.min(plan.subgroup, position - base))
    steps = T.meta_var(T.truncdiv(count + plan.step_tokens - 1, plan.step_tokens))
    wide = T.meta_var(plan.lane_vectors * KEY_VECTOR)
    for step in T.serial(steps):
        for u in T.unroll(plan.value_unroll):
            index = T.meta_var(
                step * plan.step_tokens + u * plan.token_lanes + lane // plan.value_lanes
            )
            for r in T.unroll(plan.heads):
                for j in T.unroll(wide):
                    output[r * wide + j] = fma(
                        weights[subgroup, r, index],
                        T.cast(value[u * wide + j], "float32"),
                        output[r * wide + j],
                    )
        if step + 1 < steps:
            load_values(
                value, values, tables, m, kv_head, base, step + 1, lane, position, page_size, plan
            )


@T.inline
def weigh_fresh(output, fresh_weights, fresh, lane, plan):  # noqa: D103
    wide = T.meta_var(plan.lane_vectors * KEY_VECTOR)
    if lane < plan.value_lanes:
        for r in T.unroll(plan.heads):
            for k in T.unroll(plan.lane_vectors):
                vector = T.meta_var(T.min(lane + k * plan.value_lanes, plan.vectors - 1))
                for j in T.unroll(KEY_VECTOR):
                    output[r * wide + k * KEY_VECTOR + j] = fma(
                        fresh_weights[r],
                        fresh[1, vector * KEY_VECTOR + j],
                        output[r * wide + k * KEY_VECTOR + j],
                    )


@T.inline
def share_subgroup(sums, peaks, output, best, total, subgroup, lane, plan):  # noqa: D103
    # Lanes that weighed other tokens hold the same elements.
    wide = T.meta_var(plan.lane_vectors * KEY_VECTOR)
    for i in T.unroll(plan.token_lanes.bit_length() - 1):
        for j in T.unroll(plan.heads * wide):
            output[j] = output[j] + subgroup_shuffle_xor(
                output[j], T.shift_left(T.int32(plan.value_lanes), i)
            )
    for r in T.unroll(plan.heads):
        total[r] = subgroup_add(total[r])
    if lane < plan.value_lanes:
        for r in T.unroll(plan.heads):
            for k in T.unroll(plan.lane_vectors):
                for j in T.unroll(KEY_VECTOR):
                    d = T.meta_var((lane + k * plan.value_lanes) * KEY_VECTOR + j)
                    if d < plan.head_dim:
                        sums[subgroup, r * plan.head_dim + d] = output[
                            r * wide + k * KEY_VECTOR + j
                        ]
    if lane == 0:
        for r in T.unroll(plan.heads):
            peaks[subgroup, r, 0] = best[r]
            peaks[subgroup, r, 1] = total[r]
