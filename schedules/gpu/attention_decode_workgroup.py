# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""What a workgroup does in attention of a decode step, for some query heads and a split of tokens.

What is computed, and how workgroups get on with each other, says attention_decode.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import adjusts
from ferrylm.schedules.gpu.attention_decode_blocks import (
    load_key,
    load_values,
    score,
    score_fresh,
    share_subgroup,
    soften,
    weigh,
    weigh_fresh,
)
from ferrylm.schedules.gpu.attention_decode_merge import finish_heads, join_splits
from ferrylm.schedules.gpu.attention_decode_rotation import load_angles, rotate_heads
from ferrylm.schedules.gpu.attention_decode_variant import adjust_scores, begin_softmax
from ferrylm.schedules.gpu.layout import KEY_VECTOR, ActivationLayout
from ferrylm.schedules.gpu.operations import (
    device_count,
    device_release,
    grid_dependency_wait,
)


@dataclass(frozen=True)
class Given:
    """The tensors of the kernel, and how many tokens a page has."""

    qkv: Any
    cos: Any
    sin: Any
    tables: Any
    keys: Any
    values: Any
    gains: Any
    sinks: Any
    counters: Any
    partial: Any
    out: Any
    codes: Any
    terms: Any
    page_size: Any


@dataclass(frozen=True)
class Ending:
    """What becomes of a workgroup's results.

    `layout` is that of codes where they are `prepared`. They are `merged` here, or by a kernel
    that comes next. With `overlap` the kernel waits for the one before it (overlap.py).
    """

    layout: ActivationLayout
    prepared: bool
    merged: bool
    overlap: bool


@T.inline
def attend(  # noqa: D103
    output, best, total, key, value, queries, fresh, weights, fresh_weights, keys, values, tables,
    sinks, m, own, kv_head, split, start, count, thread, position, page_size, plan,
):  # fmt: skip
    scores = T.alloc_buffer((plan.heads,), "float32", scope="local")
    lane = T.meta_var(thread % plan.subgroup)
    subgroup = T.meta_var(thread // plan.subgroup)
    for i in T.unroll(plan.heads * plan.lane_vectors * KEY_VECTOR):
        output[i] = T.float32(0)
    first_subgroup = T.meta_var(T.And(split == 0, subgroup == 0))
    begin_softmax(best, total, sinks, own, first_subgroup, lane, plan)
    for i in T.serial(count):
        base = T.meta_var(start + i * plan.threads)
        score(scores, key, queries, keys, tables, m, kv_head, base, lane, position, page_size, plan)
        if base + plan.subgroup > position:
            score_fresh(scores, queries, fresh, base, lane, position, plan)
        if i + 1 < count:  # on their way while this block's values are weighed
            load_key(
                key, keys, tables, m, kv_head, base + plan.threads, 0, lane, position, page_size,
                plan,
            )  # fmt: skip
        if adjusts(plan.shape.variant):
            adjust_scores(scores, base + lane - position, own, plan)
        soften(
            scores, weights, fresh_weights, output, best, total, base + lane, position, subgroup,
            lane, plan,
        )  # fmt: skip
        T.tvm_storage_sync("warp")
        weigh(
            output, weights, value, values, tables, m, kv_head, base, subgroup, lane, position,
            page_size, plan,
        )  # fmt: skip
        if base + plan.subgroup > position:
            weigh_fresh(output, fresh_weights, fresh, lane, plan)
        if i + 1 < count:
            load_values(
                value, values, tables, m, kv_head, base + plan.threads, 0, lane, position,
                page_size, plan,
            )  # fmt: skip
        T.tvm_storage_sync("warp")


@T.inline
def merge_splits(  # noqa: D103
    factors, before, given, m, task, own, count, thread, plan, ending
):
    T.evaluate(device_release())
    T.tvm_storage_sync("shared")
    if thread == 0:
        before[0] = device_count(T.address_of(given.counters[m, own]), 1)
    T.tvm_storage_sync("shared")
    if before[0] == count - 1:
        join_splits(
            factors, given.partial, given.out, given.codes, given.terms, m, task, own, count,
            thread, plan, ending.layout, ending.prepared,
        )  # fmt: skip
        if thread == 0:
            given.counters[m, own] = 0


@T.inline
def attend_split(given, m, task, own, split, position, thread, plan, ending):  # noqa: D103
    width = T.meta_var(plan.vectors * KEY_VECTOR)
    queries = T.alloc_buffer((plan.heads, width), "float32", scope="shared")
    fresh = T.alloc_buffer((2, width), "float32", scope="shared")
    weights = T.alloc_buffer((plan.subgroups, plan.heads, plan.subgroup), "float32", scope="shared")
    fresh_weights = T.alloc_buffer((plan.heads,), "float32", scope="shared")
    sums = T.alloc_buffer((plan.subgroups, plan.sums), "float32", scope="shared")
    peaks = T.alloc_buffer((plan.subgroups, plan.heads, 2), "float32", scope="shared")
    factors = T.alloc_buffer((plan.factor_rows, plan.heads), "float32", scope="shared")
    before = T.alloc_buffer((1,), "int32", scope="shared")
    key = T.alloc_buffer((plan.key_unroll * KEY_VECTOR,), plan.kv_dtype, scope="local")
    value = T.alloc_buffer(
        (plan.value_unroll * plan.lane_vectors * KEY_VECTOR,), plan.kv_dtype, scope="local"
    )
    angles = T.alloc_buffer((plan.angles,), "float32", scope="local")
    output = T.alloc_buffer((plan.outputs,), "float32", scope="local")
    best = T.alloc_buffer((plan.heads,), "float32", scope="local")
    total = T.alloc_buffer((plan.heads,), "float32", scope="local")
    at = T.alloc_buffer((4,), "int32", scope="local")
    count = T.meta_var(1 if plan.splits == 1 else at[0])  # splits of the sequence
    first = T.meta_var(at[1])  # token of the split, and the one after its last
    end = T.meta_var(at[2])
    blocks = T.meta_var(at[3])  # of this subgroup
    at[0] = T.max(plan.split_count(position), 1)
    at[1] = plan.first(position) + split * plan.span(position) * plan.threads
    at[2] = T.min(position + 1, first + plan.span(position) * plan.threads)
    start = T.meta_var(first + thread // plan.subgroup * plan.subgroup)
    at[3] = T.truncdiv(T.max(end - start, 0) + plan.threads - 1, plan.threads)
    if split < count:
        # No kernel of this step writes what is read here, and the steps before have ended: a step's
        # first kernel starts no earlier (overlap.py).
        load_angles(angles, given.cos, given.sin, given.gains, thread, position, plan)
        if blocks > 0:
            load_key(
                key, given.keys, given.tables, m, plan.kv_head(own), start, 0,
                thread % plan.subgroup, position, given.page_size, plan,
            )  # fmt: skip
            load_values(
                value, given.values, given.tables, m, plan.kv_head(own), start, 0,
                thread % plan.subgroup, position, given.page_size, plan,
            )  # fmt: skip
        if ending.overlap:
            T.evaluate(grid_dependency_wait())
        rotate_heads(
            queries, fresh, angles, given.qkv, given.keys, given.values, given.tables, m, own,
            T.And(T.And(end > position, position >= 0), own % plan.parts == 0), thread, position,
            given.page_size, plan,
        )  # fmt: skip
        T.tvm_storage_sync("shared")
        attend(
            output, best, total, key, value, queries, fresh, weights, fresh_weights, given.keys,
            given.values, given.tables, given.sinks, m, own, plan.kv_head(own), split, start,
            blocks, thread, position, given.page_size, plan,
        )  # fmt: skip
        share_subgroup(
            sums, peaks, output, best, total, thread // plan.subgroup, thread % plan.subgroup, plan
        )
        T.tvm_storage_sync("shared")
        finish_heads(
            sums, peaks, given.partial, given.out, given.codes, given.terms, m, task, own, split,
            count, thread, plan, ending.layout, ending.merged, ending.prepared,
        )  # fmt: skip
        if ending.merged and count > 1:
            merge_splits(factors, before, given, m, task, own, count, thread, plan, ending)
