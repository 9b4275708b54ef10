# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""The pieces of attention on cooperative matrices; names and the mapping: attention_cooperative.py.

Which lane has which numbers of a matrix is not told, so scores go through shared memory: there a
row of them belongs to `row_lanes` lanes, which also know the row's largest score, its sum and its
position.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_cooperative_copies import load_query, pack_eight
from ferrylm.schedules.gpu.attention_cooperative_plan import FLOATS, RUN, WORDS
from ferrylm.schedules.gpu.cooperative_operations import (
    clear,
    load_left,
    load_right,
    load_right_rows,
    load_sums,
    multiply_add,
    scale,
    store_sums,
    subgroup_barrier,
)
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.operations import clustered_max, subgroup_max

# A row's sums are rescaled when its largest score exceeds that of the last time by a factor of
# 2^SLACK, which is seldom after the first steps. The largest score of that time counts as
# 2^WEIGHT_BITS: weights round to float16, whose range ends at 2^16 and whose normal numbers at
# 2^-14.
SLACK, WEIGHT_BITS = 4, 10


@T.inline
def find_rows(positions, position, reach, first_row, subgroup, thread, rows, plan):  # noqa: D103
    # reach: the least and the greatest position of the subgroup, tokens of the workgroup.
    for f in T.unroll(plan.tile.row_tiles):
        row = T.meta_var(
            first_row
            + subgroup * plan.subgroup_rows
            + f * plan.size
            + thread % plan.width // plan.row_lanes
        )
        position[f] = T.int32(-1)
        if row < rows:
            position[f] = positions[row // plan.heads]
    reach[0] = -position[0]
    reach[1] = position[0]
    for f in T.unroll(plan.tile.row_tiles - 1):
        reach[0] = T.max(reach[0], -position[f + 1])
        reach[1] = T.max(reach[1], position[f + 1])
    reach[0] = -subgroup_max(reach[0])
    reach[1] = subgroup_max(reach[1])
    reach[2] = T.int32(0)
    for i in T.unroll((plan.rows + plan.width - 1) // plan.width):
        row = T.meta_var(T.min(first_row + i * plan.width + thread % plan.width, rows - 1))
        if i * plan.width + thread % plan.width < plan.rows:
            reach[2] = T.max(reach[2], positions[row // plan.heads] + 1)
    reach[2] = subgroup_max(reach[2])


@T.inline
def score(queries, near, subgroup, plan):  # noqa: D103
    # A matrix of keys at a time, times all rows, into shared memory.
    sums = T.alloc_buffer((plan.tile.row_tiles * plan.score_tiles,), "float32", scope="local")
    right = T.alloc_buffer((1,), "float16", scope="local")
    shape = T.meta_var((plan.size, plan.size, plan.size))
    for i in T.unroll(plan.tile.row_tiles * plan.score_tiles):
        T.evaluate(clear(sums[i], shape))
    for s in T.unroll(plan.depths):
        if plan.tile.near:
            for f in T.unroll(plan.tile.row_tiles):
                load_query(near, queries, subgroup, f, s, plan)
        for n in T.unroll(plan.score_tiles):
            T.evaluate(
                load_right(
                    right[0],
                    near[n * plan.size * plan.token_stride + s * (plan.size // KEY_VECTOR)],
                    plan.token_stride,
                    shape,
                )
            )
            for f in T.unroll(plan.tile.row_tiles):
                T.evaluate(
                    multiply_add(
                        sums[f * plan.score_tiles + n], queries[plan.query(f, s)], right[0]
                    )
                )
    for f in T.unroll(plan.tile.row_tiles):
        for n in T.unroll(plan.score_tiles):
            T.evaluate(
                store_sums(
                    sums[f * plan.score_tiles + n],
                    near[plan.scores_at(subgroup, f) + n * (plan.size // FLOATS)],
                    plan.score_stride,
                )
            )
    T.evaluate(subgroup_barrier())


@T.inline
def take_scores(near, numbers, position, reach, first, f, at, lane, plan):  # noqa: D103
    part = T.meta_var(lane % plan.row_lanes)
    for i in T.unroll(plan.runs):
        run = T.meta_var(i * plan.row_lanes + part)
        for j in T.unroll(RUN // FLOATS):
            numbers[T.Ramp(i * RUN + j * FLOATS, 1, FLOATS)] = T.reinterpret(
                near[at + lane // plan.row_lanes * plan.score_stride + run * (RUN // FLOATS) + j],
                dtype="float32x4",
            )
    if first + plan.tokens > reach[0] + 1:
        for i in T.unroll(plan.runs):
            run = T.meta_var(i * plan.row_lanes + part)
            for j in T.unroll(RUN):
                numbers[i * RUN + j] = T.Select(
                    first + run * RUN + j <= position[f], numbers[i * RUN + j], T.float32(MASKED)
                )


@T.inline
def place_weights(near, numbers, at, lane, plan):  # noqa: D103
    words = T.alloc_buffer((WORDS,), "uint32", scope="local")
    floats = T.alloc_buffer((KEY_VECTOR,), "float32", scope="local")
    for i in T.unroll(plan.runs):
        run = T.meta_var(i * plan.row_lanes + lane % plan.row_lanes)
        for j in T.unroll(RUN // KEY_VECTOR):
            for k in T.unroll(KEY_VECTOR):
                floats[k] = numbers[i * RUN + j * KEY_VECTOR + k]
            pack_eight(floats, words)
            near[
                at + lane // plan.row_lanes * plan.weight_stride + run * (RUN // KEY_VECTOR) + j
            ] = words[T.Ramp(0, 1, WORDS)]


@T.inline
def rescale(near, output, factor, f, at, lane, plan):  # noqa: D103
    # A matrix whose rows are the rows' factors, in the place of the scores.
    factors = T.alloc_buffer((1,), "float32", scope="local")
    shape = T.meta_var((plan.size, plan.size, plan.size))
    each = T.meta_var(plan.size // FLOATS // plan.row_lanes)
    T.evaluate(subgroup_barrier())
    for i in T.unroll(each):
        near[at + lane // plan.row_lanes * plan.score_stride + lane % plan.row_lanes * each + i] = (
            T.reinterpret(T.Broadcast(factor, FLOATS), dtype="uint32x4")
        )
    T.evaluate(subgroup_barrier())
    T.evaluate(load_sums(factors[0], near[at], plan.score_stride, shape))
    for n in T.unroll(plan.depths):
        T.evaluate(scale(output[f * plan.depths + n], factors[0]))


@T.inline
def softmax(  # noqa: D103
    near, output, largest, total, position, reach, first, subgroup, lane, plan
):
    numbers = T.alloc_buffer((plan.runs * RUN,), "float32", scope="local")
    found = T.alloc_buffer((3,), "float32", scope="local")
    grown = T.alloc_buffer((1,), "int32", scope="local")
    for f in T.unroll(plan.tile.row_tiles):
        at = T.meta_var(plan.scores_at(subgroup, f))
        take_scores(near, numbers, position, reach, first, f, at, lane, plan)
        found[0] = numbers[0]
        for i in T.unroll(plan.runs * RUN - 1):
            found[0] = T.max(found[0], numbers[i + 1])
        found[0] = clustered_max(found[0], plan.row_lanes)
        found[1] = T.float32(1)
        grown[0] = 0
        if found[0] > largest[f] + T.float32(SLACK):
            found[1] = T.exp2(largest[f] - found[0])
            largest[f] = found[0]
            grown[0] = 1
        found[0] = largest[f] - T.float32(WEIGHT_BITS)
        found[2] = T.float32(0)
        for i in T.unroll(plan.runs * RUN):
            numbers[i] = T.exp2(numbers[i] - found[0])
            found[2] = found[2] + numbers[i]
        total[f] = total[f] * found[1] + found[2]
        place_weights(near, numbers, plan.weights_at(subgroup, f), lane, plan)
        if subgroup_max(grown[0]) > 0:
            rescale(near, output, found[1], f, at, lane, plan)
    T.evaluate(subgroup_barrier())


@T.inline
def weigh(near, output, subgroup, plan):  # noqa: D103
    left = T.alloc_buffer((plan.tile.row_tiles,), "float16", scope="local")
    right = T.alloc_buffer((1,), "float16", scope="local")
    shape = T.meta_var((plan.size, plan.size, plan.size))
    for k in T.unroll(plan.score_tiles):
        for f in T.unroll(plan.tile.row_tiles):
            at = T.meta_var(plan.weights_at(subgroup, f) + k * (plan.size // KEY_VECTOR))
            T.evaluate(load_left(left[f], near[at], plan.weight_stride, shape))
        for n in T.unroll(plan.depths):
            T.evaluate(
                load_right_rows(
                    right[0],
                    near[
                        plan.values_at
                        + k * plan.size * plan.token_stride
                        + n * (plan.size // KEY_VECTOR)
                    ],
                    plan.token_stride,
                    shape,
                )
            )
            for f in T.unroll(plan.tile.row_tiles):
                T.evaluate(multiply_add(output[f * plan.depths + n], left[f], right[0]))
