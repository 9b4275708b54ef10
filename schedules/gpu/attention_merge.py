# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Joining the splits of attention in a decode step by a kernel of its own, on GPUs.

Heads whose elements fill no whole groups of 32 columns need it: the groups to be quantized then
hold results of several workgroups of attention_decode.py.

computes  out[m, h] = sum_i e^(largest_i - M) sums_i / sum_i e^(largest_i - M) weights_i,
          M = max_i largest_i, perhaps quantized for the product that follows
shapes    partial float32 (M * tasks, splits, partial_width) as attention_decode.py leaves it
          out float32 (M, padded(Hq * D)), or codes and terms as in layout.py
mapping   workgroup  32 columns of a row; lane  4 columns of every STRIPES-th split
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.activations import COLUMNS, LANES, quantize_columns
from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.layout import GROUP, ActivationLayout, groups, padded
from ferrylm.schedules.signature import without

STRIPES = 16


@T.inline
def sum_stripe(shared, partial, first_task, group, thread, count, outputs, plan):  # noqa: D103
    state = T.alloc_buffer((5,), "float32", scope="local")  # largest, weights; new largest, factors
    sums = T.alloc_buffer((COLUMNS,), "float32", scope="local")
    stripe = T.meta_var(thread // LANES)
    first = T.meta_var(group * GROUP + thread % LANES * COLUMNS)
    # Columns of one head share its largest score and weights; four columns mostly are of one head.
    for h in T.unroll(1 if plan.head_dim % COLUMNS == 0 else COLUMNS):
        head = T.meta_var(T.min(first + h, outputs - 1) // plan.head_dim)
        d = T.meta_var(T.min(first + h, outputs - 1) % plan.head_dim)
        columns = T.meta_var(COLUMNS if plan.head_dim % COLUMNS == 0 else 1)
        part = T.meta_var(head % plan.shape.query_heads // plan.heads)
        task = T.meta_var(first_task + head // plan.shape.query_heads * plan.parts + part)
        state[0] = T.float32(MASKED)
        state[1] = T.float32(0)
        for j in T.unroll(columns):
            sums[j] = T.float32(0)
        for i in T.serial(T.truncdiv(count + STRIPES - 1 - stripe, STRIPES)):
            split = T.meta_var(i * STRIPES + stripe)
            row = T.meta_var(head % plan.shape.query_heads % plan.heads)
            state[2] = T.max(state[0], partial[task, split, plan.best_at(row)])
            state[3] = T.exp(state[0] - state[2])
            state[4] = T.exp(partial[task, split, plan.best_at(row)] - state[2])
            state[0] = state[2]
            state[1] = state[1] * state[3] + state[4] * partial[task, split, plan.weight_at(row)]
            for j in T.unroll(columns):
                sums[j] = (
                    sums[j] * state[3]
                    + state[4] * partial[task, split, row * plan.head_dim + d + j]
                )
        for j in T.unroll(columns):
            shared[0, stripe, thread % LANES * COLUMNS + h + j] = state[0]
            shared[1, stripe, thread % LANES * COLUMNS + h + j] = state[1]
            shared[2, stripe, thread % LANES * COLUMNS + h + j] = sums[j]


@T.inline
def join_stripes(merged, shared, lane, count):  # noqa: D103
    sums = T.alloc_buffer((4,), "float32", scope="local")
    for j in T.unroll(COLUMNS):
        sums[0] = T.float32(MASKED)
        for s in T.serial(T.min(count, STRIPES)):
            sums[0] = T.max(sums[0], shared[0, s, lane * COLUMNS + j])
        sums[1] = T.float32(0)
        sums[2] = T.float32(0)
        for s in T.serial(T.min(count, STRIPES)):
            sums[3] = T.exp(shared[0, s, lane * COLUMNS + j] - sums[0])
            sums[1] = sums[1] + sums[3] * shared[1, s, lane * COLUMNS + j]
            sums[2] = sums[2] + sums[3] * shared[2, s, lane * COLUMNS + j]
        merged[j] = sums[2] / T.max(sums[1], T.float32(1e-30))


def merge_attention(batch: int, plan: DecodePlan, layout: ActivationLayout | None = None) -> Any:
    """Return the PrimFunc (partial, positions, out or codes and terms).

    out is float32; with a `layout` it is quantized to codes and terms instead.
    """
    outputs = plan.shape.num_heads * plan.head_dim
    width, g = padded(outputs), groups(outputs)
    prepared = layout is not None
    stored = layout or ActivationLayout(outputs, 1)
    threads = max(plan.subgroup, LANES * STRIPES)

    @T.prim_func(s_tir=True, private=True)
    def func(
        ppartial: T.handle, ppositions: T.handle, pout: T.handle, pcodes: T.handle,
        pterms: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": plan.subgroup})
        partial = T.match_buffer(
            ppartial, (batch * plan.tasks, plan.splits, plan.partial_width), "float32"
        )
        positions = T.match_buffer(ppositions, (batch,), "int32")
        out = T.match_buffer(pout, (batch, width), "float32")
        codes = T.match_buffer(pcodes, stored.codes_shape(batch), "uint32")
        terms = T.match_buffer(pterms, stored.terms_shape(batch), "uint32")
        for m in T.thread_binding(batch, thread="blockIdx.y"):
            for group in T.thread_binding(g, thread="blockIdx.x"):
                for thread in T.thread_binding(threads, thread="threadIdx.x"):
                    shared = T.alloc_buffer((3, STRIPES, GROUP), "float32", scope="shared")
                    merged = T.alloc_buffer((COLUMNS,), "float32", scope="local")
                    squares = T.alloc_buffer((1,), "float32", scope="local")
                    sum_stripe(
                        shared, partial, m * plan.tasks, group, thread,
                        plan.split_count(positions[m]), outputs, plan,
                    )  # fmt: skip
                    T.tvm_storage_sync("shared")
                    if thread < plan.subgroup:
                        squares[0] = T.float32(0)
                        join_stripes(merged, shared, thread % LANES, plan.split_count(positions[m]))
                        for j in T.unroll(COLUMNS):
                            if group * GROUP + thread % LANES * COLUMNS + j >= outputs:
                                merged[j] = T.float32(0)
                        if prepared:
                            quantize_columns(
                                merged, squares, m, group * LANES + thread % LANES,
                                thread < LANES, codes, terms, stored,
                            )  # fmt: skip
                        else:
                            if thread < LANES:
                                for j in T.unroll(COLUMNS):
                                    out[m, group * GROUP + thread * COLUMNS + j] = merged[j]

    return without(func, ["out"] if prepared else ["codes", "terms"])
