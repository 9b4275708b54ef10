# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""How a workgroup's subgroups, and a sequence's splits, become one result in a decode step.

computes  sum_i e^(largest_i - M) sums_i / sum_i e^(largest_i - M) weights_i, M = max_i largest_i,
          in the order of i
mapping   lane  4 columns of the workgroup's heads, 8 lanes a group of 32
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.activations import COLUMNS, quantize_columns
from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_decode_plan import MERGED
from ferrylm.schedules.gpu.layout import GROUP, padded
from ferrylm.schedules.gpu.operations import device_acquire, subgroup_add, subgroup_max


@T.inline
def store_columns(found, out, codes, terms, m, own, c, plan, layout, prepared):  # noqa: D103
    squares = T.alloc_buffer((1,), "float32", scope="local")
    columns = T.meta_var(plan.heads_of(own) * plan.head_dim)
    if prepared:
        squares[0] = T.float32(0)
        quantize_columns(
            found, squares, m, plan.first_head(own) * plan.head_dim // COLUMNS + c,
            c * COLUMNS < columns, codes, terms, layout,
        )  # fmt: skip
    else:
        for j in T.unroll(COLUMNS):
            if c * COLUMNS + j < columns:
                out[m, plan.first_head(own) * plan.head_dim + c * COLUMNS + j] = found[j]


@T.inline
def zero_padding(out, m, own, thread, plan):  # noqa: D103
    columns = T.meta_var(plan.shape.num_heads * plan.head_dim)
    rest = T.meta_var(-columns % GROUP)
    if own == 0:
        for i in T.serial((rest + plan.threads - 1) // plan.threads):
            if i * plan.threads + thread < rest:
                out[m, columns + i * plan.threads + thread] = T.float32(0)


@T.inline
def finish_heads(  # noqa: D103
    sums, peaks, partial, out, codes, terms, m, task, own, split, count, thread, plan, layout,
    merged, prepared,
):  # fmt: skip
    found = T.alloc_buffer((COLUMNS,), "float32", scope="local")
    state = T.alloc_buffer((3,), "float32", scope="local")  # largest, weights, factor
    vectors = T.meta_var(-(-plan.sums // COLUMNS))
    # Columns of one head share its largest score and weights; four columns mostly are of one head.
    shared = T.meta_var(COLUMNS if plan.head_dim % COLUMNS == 0 else 1)
    for i in T.serial((vectors + plan.threads - 1) // plan.threads):
        c = T.meta_var(i * plan.threads + thread)
        for h in T.unroll(COLUMNS // shared):
            column = T.meta_var(T.min(T.min(c, vectors - 1) * COLUMNS + h, plan.sums - 1))
            row = T.meta_var(column // plan.head_dim)
            state[0] = peaks[0, row, 0]
            for s in T.unroll(plan.subgroups - 1):
                state[0] = T.max(state[0], peaks[s + 1, row, 0])
            state[1] = T.float32(0)
            for j in T.unroll(shared):
                found[h + j] = T.float32(0)
            for s in T.unroll(plan.subgroups):
                state[2] = T.exp(peaks[s, row, 0] - state[0])
                state[1] = state[1] + state[2] * peaks[s, row, 1]
                for j in T.unroll(shared):
                    found[h + j] = found[h + j] + state[2] * sums[s, column + j]
            if merged and count == 1:
                for j in T.unroll(shared):
                    found[h + j] = found[h + j] / T.max(state[1], T.float32(1e-30))
            else:
                if T.And(c < vectors, column % plan.head_dim == 0):
                    partial[task, split, plan.best_at(row)] = state[0]
                    partial[task, split, plan.weight_at(row)] = state[1]
        if merged and count == 1:
            store_columns(found, out, codes, terms, m, own, c, plan, layout, prepared)
        else:
            if c < vectors:
                for j in T.vectorized(COLUMNS):
                    partial[task, split, c * COLUMNS + j] = found[j]
    if merged and count == 1 and not prepared:
        zero_padding(out, m, own, thread, plan)


@T.inline
def split_factors(factors, partial, task, count, thread, plan):  # noqa: D103
    found = T.alloc_buffer((3,), "float32", scope="local")
    lane = T.meta_var(thread % plan.subgroup)
    most = T.meta_var(padded(plan.splits, MERGED))  # those beyond the last have the factor 0
    turns = T.meta_var(-(-most // plan.subgroup))
    for k in T.serial((plan.heads + plan.subgroups - 1) // plan.subgroups):
        row = T.meta_var(k * plan.subgroups + thread // plan.subgroup)
        if row < plan.heads:
            found[0] = T.float32(MASKED)
            for i in T.serial(turns):
                if i * plan.subgroup + lane < count:
                    found[0] = T.max(
                        found[0], partial[task, i * plan.subgroup + lane, plan.best_at(row)]
                    )
            found[0] = subgroup_max(found[0])
            found[1] = T.float32(0)
            for i in T.serial(turns):
                s = T.meta_var(i * plan.subgroup + lane)
                found[2] = T.float32(0)
                if s < count:
                    found[2] = T.exp(partial[task, s, plan.best_at(row)] - found[0])
                    found[1] = found[1] + found[2] * partial[task, s, plan.weight_at(row)]
                if s < most:
                    factors[s, row] = found[2]
            found[1] = T.max(subgroup_add(found[1]), T.float32(1e-30))
            for i in T.serial(turns):
                if i * plan.subgroup + lane < most:
                    factors[i * plan.subgroup + lane, row] = (
                        factors[i * plan.subgroup + lane, row] / found[1]
                    )


@T.inline
def join_splits(  # noqa: D103
    factors, partial, out, codes, terms, m, task, own, count, thread, plan, layout, prepared
):
    found = T.alloc_buffer((COLUMNS,), "float32", scope="local")
    loaded = T.alloc_buffer((MERGED * COLUMNS,), "float32", scope="local")
    vectors = T.meta_var(-(-plan.sums // COLUMNS))
    T.evaluate(device_acquire())
    split_factors(factors, partial, task, count, thread, plan)
    T.tvm_storage_sync("shared")
    for i in T.serial((vectors + plan.threads - 1) // plan.threads):
        c = T.meta_var(i * plan.threads + thread)
        for j in T.unroll(COLUMNS):
            found[j] = T.float32(0)
        for turn in T.serial(T.truncdiv(count + MERGED - 1, MERGED)):
            # Splits beyond the last are that again, with the factor 0.
            for u in T.unroll(MERGED):
                for j in T.vectorized(COLUMNS):
                    loaded[u * COLUMNS + j] = partial[
                        task,
                        T.min(turn * MERGED + u, count - 1),
                        T.min(c, vectors - 1) * COLUMNS + j,
                    ]
            for u in T.unroll(MERGED):
                for j in T.unroll(COLUMNS):
                    row = T.meta_var(
                        T.min(T.min(c, vectors - 1) * COLUMNS + j, plan.sums - 1) // plan.head_dim
                    )
                    found[j] = found[j] + factors[turn * MERGED + u, row] * loaded[u * COLUMNS + j]
        store_columns(found, out, codes, terms, m, own, c, plan, layout, prepared)
    if not prepared:
        zero_padding(out, m, own, thread, plan)
