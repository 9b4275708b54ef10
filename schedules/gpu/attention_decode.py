# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Attention of a decode step, from the projections to the next product's activations, on GPUs.

computes  rope.py for the step's queries and keys, the append of keys and values to their pages, and
          out[m, h] = sum_t softmax_t(q[m, h] . k[t, h // R]) * v[t, h // R], t <= position[m],
          or a variant of it, perhaps quantized for the product that follows
shapes    qkv, cos, sin, positions, pages as in rope.py; block_tables int32 (S, W)
          counters int32 (S, tasks), zeros before and after
          partial float32 (S * tasks, splits, partial_width), only what one launch says to itself
          out float32 (S, padded(Hq * D)), or codes and terms as in layout.py
mapping   workgroup  (sequence, some query heads of a KV head, a split of the tokens)
          subgroup   a token per lane for scores, 8 elements of a value per lane for sums
limits    a page a multiple of BLOCK tokens
traffic   keys and values once per workgroup (arXiv 2205.14135; split over tokens as in
          "Flash-Decoding", pytorch.org, 2023)

Every workgroup rotates the queries that it needs. The one whose tokens include the step's own takes
that key and value from shared memory and writes them to their page, which nobody reads. Where a
sequence has several splits, each leaves its results and counts; the one that counts last adds all
of them up in their order, so that no bit depends on which it was, and sets the counter to 0 again.
Counters are 0 when a layer begins because the step's first kernel zeroes them (embedding.py),
whatever became of the step before, and each layer counts every split once before it zeroes them.
"""

from __future__ import annotations

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
from ferrylm.schedules.gpu.attention_decode_merge import MERGED, finish_heads, join_splits
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.attention_decode_rotation import (
    load_angles,
    pairs_of_lane,
    rotate_heads,
)
from ferrylm.schedules.gpu.attention_decode_variant import adjust_scores, begin_softmax
from ferrylm.schedules.gpu.layout import KEY_VECTOR, ActivationLayout, padded
from ferrylm.schedules.gpu.operations import (
    device_count,
    device_release,
    grid_dependency_wait,
)
from ferrylm.schedules.gpu.overlap import overlapped
from ferrylm.schedules.gpu.signature import without


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


def decode_attention(
    batch: int,
    plan: DecodePlan,
    layout: ActivationLayout | None = None,
    *,
    merged: bool = True,
    overlap: bool = False,
) -> Any:
    """Return the PrimFunc of a decode step of `batch` sequences, one a row.

    It takes qkv, cos, sin, positions, block_tables, keys, values, gains (rope.py) if heads are
    normalized, sinks (float32, Hq) if the variant has some, counters, partial, and out or codes and
    terms. Rows of padding append nothing
    and give zeros. With a `layout` the result is quantized, which wants plan.whole_groups. When it
    is not `merged` there are no counters, and partial is the last argument: attention_merge.py does
    the rest.
    """
    shape, head_dim, kv_heads = plan.shape, plan.head_dim, plan.shape.num_kv_heads
    half, columns = head_dim // 2, shape.num_heads * head_dim
    qkv_width = padded((shape.num_heads + 2 * kv_heads) * head_dim)
    stored = layout or ActivationLayout(columns, 1)
    angle_count = (4 if shape.norms_heads else 2) * pairs_of_lane(plan)
    outputs = plan.heads * plan.lane_vectors * KEY_VECTOR

    @T.prim_func(s_tir=True, private=True)
    def func(
        pqkv: T.handle, pcos: T.handle, psin: T.handle, ppositions: T.handle, ptables: T.handle,
        pkeys: T.handle, pvalues: T.handle, pgains: T.handle, psinks: T.handle, pcounters: T.handle,
        ppartial: T.handle, pout: T.handle, pcodes: T.handle, pterms: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": plan.subgroup})
        pages, page_size, table_width, context = T.int32(), T.int32(), T.int32(), T.int32()
        qkv = T.match_buffer(pqkv, (batch, qkv_width), "float32")
        cos = T.match_buffer(pcos, (context, half), "float32")
        sin = T.match_buffer(psin, (context, half), "float32")
        positions = T.match_buffer(ppositions, (batch,), "int32")
        tables = T.match_buffer(ptables, (batch, table_width), "int32")
        keys = T.match_buffer(
            pkeys, (pages, kv_heads, plan.vectors, page_size, KEY_VECTOR), plan.kv_dtype
        )
        values = T.match_buffer(
            pvalues, (pages, kv_heads, page_size, plan.vectors * KEY_VECTOR), plan.kv_dtype
        )
        gains = T.match_buffer(pgains, (2 * head_dim,), "float32")
        sinks = T.match_buffer(psinks, (shape.num_heads,), "float32")
        counters = T.match_buffer(pcounters, (batch, plan.tasks), "int32")
        partial = T.match_buffer(
            ppartial, (batch * plan.tasks, plan.splits, plan.partial_width), "float32"
        )
        out = T.match_buffer(pout, (batch, padded(columns)), "float32")
        codes = T.match_buffer(pcodes, stored.codes_shape(batch), "uint32")
        terms = T.match_buffer(pterms, stored.terms_shape(batch), "uint32")
        launched = T.meta_var(plan.launched_splits(table_width, page_size))
        for split in T.thread_binding(launched, thread="blockIdx.y"):
            for task in T.thread_binding(batch * plan.tasks, thread="blockIdx.x"):
                for thread in T.thread_binding(plan.threads, thread="threadIdx.x"):
                    width = T.meta_var(plan.vectors * KEY_VECTOR)
                    queries = T.alloc_buffer((plan.heads, width), "float32", scope="shared")
                    fresh = T.alloc_buffer((2, width), "float32", scope="shared")
                    weights = T.alloc_buffer(
                        (plan.subgroups, plan.heads, plan.subgroup), "float32", scope="shared"
                    )
                    fresh_weights = T.alloc_buffer((plan.heads,), "float32", scope="shared")
                    sums = T.alloc_buffer((plan.subgroups, plan.sums), "float32", scope="shared")
                    peaks = T.alloc_buffer(
                        (plan.subgroups, plan.heads, 2), "float32", scope="shared"
                    )
                    factors = T.alloc_buffer(
                        (padded(plan.splits, MERGED), plan.heads), "float32", scope="shared"
                    )
                    before = T.alloc_buffer((1,), "int32", scope="shared")
                    key = T.alloc_buffer(
                        (plan.key_unroll * KEY_VECTOR,), plan.kv_dtype, scope="local"
                    )
                    value = T.alloc_buffer(
                        (plan.value_unroll * plan.lane_vectors * KEY_VECTOR,), plan.kv_dtype,
                        scope="local",
                    )  # fmt: skip
                    angles = T.alloc_buffer((angle_count,), "float32", scope="local")
                    output = T.alloc_buffer((outputs,), "float32", scope="local")
                    best = T.alloc_buffer((plan.heads,), "float32", scope="local")
                    total = T.alloc_buffer((plan.heads,), "float32", scope="local")
                    at = T.alloc_buffer((5,), "int32", scope="local")
                    m = T.meta_var(task // plan.tasks)
                    own = T.meta_var(task % plan.tasks)
                    position = T.meta_var(at[0])
                    count = T.meta_var(at[1])  # splits of the sequence
                    first = T.meta_var(at[2])  # token of the split, and the one after its last
                    end = T.meta_var(at[3])
                    blocks = T.meta_var(at[4])  # of this subgroup
                    at[0] = positions[m]
                    at[1] = T.max(plan.split_count(position), 1)
                    at[2] = plan.first(position) + split * plan.span(position) * plan.threads
                    at[3] = T.min(position + 1, first + plan.span(position) * plan.threads)
                    start = T.meta_var(first + thread // plan.subgroup * plan.subgroup)
                    at[4] = T.truncdiv(T.max(end - start, 0) + plan.threads - 1, plan.threads)
                    if split < count:
                        # No kernel of this step writes what is read here, and the steps before have
                        # ended: a step's first kernel starts no earlier (overlap.py).
                        load_angles(angles, cos, sin, gains, thread, position, plan)
                        if blocks > 0:
                            load_key(
                                key, keys, tables, m, plan.kv_head(own), start, 0,
                                thread % plan.subgroup, position, page_size, plan,
                            )  # fmt: skip
                            load_values(
                                value, values, tables, m, plan.kv_head(own), start, 0,
                                thread % plan.subgroup, position, page_size, plan,
                            )  # fmt: skip
                        if overlap:
                            T.evaluate(grid_dependency_wait())
                        rotate_heads(
                            queries, fresh, angles, qkv, keys, values, tables, m, own,
                            T.And(T.And(end > position, position >= 0), own % plan.parts == 0),
                            thread, position, page_size, plan,
                        )  # fmt: skip
                        T.tvm_storage_sync("shared")
                        attend(
                            output, best, total, key, value, queries, fresh, weights,
                            fresh_weights, keys, values, tables, sinks, m, own,
                            plan.kv_head(own), split, start, blocks, thread, position, page_size,
                            plan,
                        )  # fmt: skip
                        share_subgroup(
                            sums, peaks, output, best, total, thread // plan.subgroup,
                            thread % plan.subgroup, plan,
                        )  # fmt: skip
                        T.tvm_storage_sync("shared")
                        finish_heads(
                            sums, peaks, partial, out, codes, terms, m, task, own, split, count,
                            thread, plan, stored, merged, layout is not None,
                        )  # fmt: skip
                        if merged and count > 1:
                            T.evaluate(device_release())
                            T.tvm_storage_sync("shared")
                            if thread == 0:
                                before[0] = device_count(T.address_of(counters[m, own]), 1)
                            T.tvm_storage_sync("shared")
                            if before[0] == count - 1:
                                join_splits(
                                    factors, partial, out, codes, terms, m, task, own, count,
                                    thread, plan, stored, layout is not None,
                                )  # fmt: skip
                                if thread == 0:
                                    counters[m, own] = 0

    if not shape.norms_heads:
        func = without(func, ["gains"])
    if not shape.variant.sinks:
        func = without(func, ["sinks"])
    if not merged:
        func = without(func, ["counters", "out", "codes", "terms"])
    elif layout is None:
        func = without(func, ["codes", "terms"])
    else:
        func = without(func, ["out"])
    return overlapped(func, waits=True) if overlap else func
