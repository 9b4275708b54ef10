# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Causal attention of a prompt's rows over paged keys and values, in float32, on GPUs.

computes  out[m, h] = sum_t softmax_t(q[m, h] . k[t, h // R]) * v[t, h // R], t <= position[m],
          or a variant of it
shapes    q float32 (M, Hq, D), scaled already; pages as in layout.py
          block_tables int32 (1, W); positions int32 (M,), -1 for a padding row
          out float32 (M, padded(Hq * D)), zeros beyond Hq * D
mapping   workgroup  (tile of query tokens, KV head), all chunks in order
          inside     attention_blocks.py
limits    page a multiple of BLOCK tokens
traffic   keys and values once per workgroup (arXiv 2205.14135)
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_blocks import (
    MASKED,
    add_stripes,
    load_queries,
    rescale,
    score_chunk,
    softmax_chunk,
    weigh_values,
)
from ferrylm.schedules.gpu.attention_plan import VALUE_VECTOR, AttentionPlan
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without

__all__ = ["prefill_attention"]


def prefill_attention(rows: Rows, plan: AttentionPlan) -> Any:
    """Return the PrimFunc (q, keys, values, block_tables, positions, out), all rows one sequence.

    The rows are consecutive positions, then padding; a row of padding gives zeros. A variant with
    sinks takes them, float32 (Hq,), before out.
    """
    extent, tile, shape = row_count(rows), plan.queries, plan.shape
    head_dim, kv_heads, outputs = shape.head_dim, shape.num_kv_heads, plan.rows_a_lane
    width, value_width = padded(shape.num_heads * head_dim), padded(head_dim, KEY_VECTOR)

    @T.prim_func(s_tir=True, private=True)
    def func(
        pq: T.handle, pkeys: T.handle, pvalues: T.handle, ptables: T.handle,
        ppositions: T.handle, psinks: T.handle, pout: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": plan.subgroup})
        pages, page_size, table_width = T.int32(), T.int32(), T.int32()
        q = T.match_buffer(pq, (extent, shape.num_heads, head_dim), "float32")
        keys = T.match_buffer(
            pkeys, (pages, kv_heads, plan.vectors, page_size, KEY_VECTOR), shape.kv_dtype
        )
        values = T.match_buffer(pvalues, (pages, kv_heads, page_size, value_width), shape.kv_dtype)
        tables = T.match_buffer(ptables, (1, table_width), "int32")
        positions = T.match_buffer(ppositions, (extent,), "int32")
        sinks = T.match_buffer(psinks, (shape.num_heads,), "float32")
        out = T.match_buffer(pout, (extent, width), "float32")
        for block in T.thread_binding(extent // tile, thread="blockIdx.y"):
            for kv_head in T.thread_binding(kv_heads, thread="blockIdx.x"):
                for thread in T.thread_binding(plan.threads, thread="threadIdx.x"):
                    queries = T.alloc_buffer(
                        (plan.rows, plan.vectors * KEY_VECTOR), "float32", scope="shared"
                    )
                    scores = T.alloc_buffer((plan.rows, plan.chunk), "float32", scope="shared")
                    largest = T.alloc_buffer((plan.rows,), "float32", scope="shared")
                    total = T.alloc_buffer((plan.rows,), "float32", scope="shared")
                    factor = T.alloc_buffer((plan.rows,), "float32", scope="shared")
                    partial = T.alloc_buffer(
                        (outputs * VALUE_VECTOR, plan.threads if plan.token_stripes > 1 else 1),
                        "float32", scope="shared",
                    )  # fmt: skip
                    places = T.alloc_buffer((plan.chunk, 2), "int32", scope="shared")
                    output = T.alloc_buffer((outputs * VALUE_VECTOR,), "float32", scope="local")
                    last = T.alloc_buffer((1,), "int32", scope="local")
                    last[0] = 0
                    for m in T.unroll(tile):
                        last[0] = T.max(last[0], positions[block * tile + m] + 1)
                    for i in T.unroll(outputs * VALUE_VECTOR):
                        output[i] = T.float32(0)
                    for i in T.serial((plan.rows + plan.threads - 1) // plan.threads):
                        if i * plan.threads + thread < plan.rows:
                            begin_row(
                                largest, total, i * plan.threads + thread, sinks, kv_head, plan
                            )
                    load_queries(q, queries, thread, block * tile, kv_head * plan.heads, plan)
                    T.tvm_storage_sync("shared")
                    # Of all rows of a tile the first one sees the earliest tokens.
                    begin = T.meta_var(plan.first_chunk(positions[block * tile]))
                    for chunk in T.serial(begin, (last[0] + plan.chunk - 1) // plan.chunk):
                        score_chunk(
                            queries, keys, tables, positions, scores, places, thread, 0,
                            block * tile,
                            kv_head, chunk * plan.chunk, last[0], plan, page_size,
                        )  # fmt: skip
                        T.tvm_storage_sync("shared")
                        softmax_chunk(scores, largest, total, factor, thread, plan)
                        T.tvm_storage_sync("shared")
                        rescale(output, factor, thread, plan)
                        weigh_values(scores, values, places, output, thread, kv_head, plan)
                        T.tvm_storage_sync("shared")
                    if plan.token_stripes > 1:
                        add_stripes(output, partial, thread, plan)
                    if thread < plan.stripe_threads:
                        for i in T.unroll(outputs):
                            for j in T.unroll(VALUE_VECTOR):
                                if plan.vector(thread) * VALUE_VECTOR + j < head_dim:
                                    out[
                                        block * tile + plan.row(thread, i) // plan.heads,
                                        (kv_head * plan.heads + plan.row(thread, i) % plan.heads)
                                        * head_dim
                                        + plan.vector(thread) * VALUE_VECTOR
                                        + j,
                                    ] = output[i * VALUE_VECTOR + j] / T.max(
                                        total[plan.row(thread, i)], T.float32(1e-30)
                                    )
                    if kv_head == 0:
                        zero_padding(out, block * tile, tile, thread, plan, width)

    return func if shape.variant.sinks else without(func, ["sinks"])


@T.inline
def begin_row(largest, total, row, sinks, kv_head, plan):
    # A sink is a token before all others, whose value is zero.
    if plan.shape.variant.sinks:
        largest[row] = sinks[kv_head * plan.heads + row % plan.heads]
        total[row] = T.float32(1)
    else:
        largest[row] = T.float32(MASKED)
        total[row] = T.float32(0)


@T.inline
def zero_padding(out, first_row, rows, thread, plan, width):
    if plan.shape.num_heads * plan.head_dim < width:
        for m in T.unroll(rows):
            if plan.shape.num_heads * plan.head_dim + thread < width:
                out[first_row + m, plan.shape.num_heads * plan.head_dim + thread] = T.float32(0)
