# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Causal attention of many query rows over paged keys and values on matrix units.

computes  what prefill_attention of attention.py computes, of pages in float16; of variants as well
mapping   workgroup  `rows` query rows of a query head, the last rows first: they have most tokens
          subgroup   16 rows a fragment; tokens in steps of `tokens`, online softmax in registers
          lane       attention_matrix_blocks.py
traffic   keys and values once per workgroup, 16 bytes a lane, through shared memory: values arrive
          while scores are made, the next keys while values are summed (arXiv 2307.08691)
accuracy  queries and weights round to float16, sums are float32. A score is off by 2^-11 of the
          sum of its terms' sizes at most, as it is by the rounding of keys, and a weight by 2^-11
          of itself. On an H200, of scores about 1.5 outputs were off by 3e-4 in the mean, of scores
          about 12 by 8e-4

The order in which a row adds does not depend on the rows beside it, the chunk or the page size.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import adjusts
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_matrix_blocks import (
    copy_keys,
    copy_values,
    find_places,
    find_rows,
    load_queries,
    mask,
    score,
    softmax,
    store,
    weigh,
)
from ferrylm.schedules.gpu.attention_matrix_operations import copy_async_commit, copy_async_wait
from ferrylm.schedules.gpu.attention_matrix_plan import WIDTH, MatrixAttentionPlan
from ferrylm.schedules.gpu.attention_matrix_variant import (
    adjust,
    begin_row,
    needs_mask,
    takes_part,
)
from ferrylm.schedules.gpu.launch_bounds import resident
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without


@T.inline
def begin_sums(output, largest, total, sinks, head, thread, plan):  # noqa: D103
    for i in T.unroll(plan.output(plan.tile.fragments, 0)):
        output[i] = T.float32(0)
    for i in T.unroll(plan.lane_rows):
        begin_row(largest, total, i, sinks, head, thread, plan)


@T.inline
def begin_cursor(cursor, step, page_size, plan):  # noqa: D103
    if plan.shape.variant.window_tokens is None:
        for i in T.unroll(3):
            cursor[i] = 0
    else:
        cursor[2] = step * plan.tokens
        cursor[0] = T.truncdiv(cursor[2], page_size)
        cursor[1] = T.truncmod(cursor[2], page_size)


@T.inline
def take_step(  # noqa: D103
    keys, values, tables, near, cursor, places, queries, output, largest, total, position, reach,
    thread, head, kv_head, first, page_size, plan,
):  # fmt: skip
    scores = T.alloc_buffer((plan.score(plan.tile.fragments, 0),), "float32", scope="local")
    weights = T.alloc_buffer((plan.score(plan.tile.fragments, 0) // 2,), "uint32", scope="local")
    T.evaluate(copy_async_wait(0))
    T.tvm_storage_sync("shared")
    copy_values(values, near, places, thread, kv_head, plan)
    T.evaluate(copy_async_commit())
    find_places(tables, cursor, places, reach[2], page_size, plan)
    if takes_part(first, reach, plan):
        score(queries, near, scores, thread, plan)
        if adjusts(plan.shape.variant):
            adjust(scores, position, thread, first, head, plan)
        if needs_mask(first, reach, plan):
            mask(scores, position, thread, first, plan)
        softmax(scores, weights, output, largest, total, plan)
    T.evaluate(copy_async_wait(0))
    T.tvm_storage_sync("shared")
    if first + plan.tokens < reach[2]:
        copy_keys(keys, near, places, thread, kv_head, plan)
    T.evaluate(copy_async_commit())
    if takes_part(first, reach, plan):
        weigh(weights, near, output, thread, plan)


@T.inline
def fill_padding(out, thread, first_row, extent, width, plan):  # noqa: D103
    used = T.meta_var(plan.shape.num_heads * plan.head_dim)
    if used < width:
        for m in T.serial(T.min(plan.rows, extent - first_row)):
            if used + thread < width:
                out[first_row + m, used + thread] = T.float32(0)


def matrix_prefill_attention(rows: Rows, plan: MatrixAttentionPlan) -> Any:
    """Return the PrimFunc (q, keys, values, block_tables, positions, out), all rows one sequence.

    The rows are consecutive positions, then padding; a row of padding gives zeros. A variant with
    sinks takes them, float32 (Hq,), before out.
    """
    extent, shape, fragments = row_count(rows), plan.shape, plan.tile.fragments
    head_dim, heads, kv_heads = shape.head_dim, shape.num_heads, shape.num_kv_heads
    width, tile = padded(heads * head_dim), plan.rows

    @T.prim_func(s_tir=True, private=True)
    def func(
        pq: T.handle, pkeys: T.handle, pvalues: T.handle, ptables: T.handle,
        ppositions: T.handle, psinks: T.handle, pout: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": WIDTH})
        pages, page_size, table_width = T.int32(), T.int32(), T.int32()
        q = T.match_buffer(pq, (extent, heads, head_dim), "float32")
        keys = T.match_buffer(
            pkeys, (pages, kv_heads, plan.vectors, page_size, KEY_VECTOR), "float16"
        )
        values = T.match_buffer(pvalues, (pages, kv_heads, page_size, head_dim), "float16")
        tables = T.match_buffer(ptables, (1, table_width), "int32")
        positions = T.match_buffer(ppositions, (extent,), "int32")
        sinks = T.match_buffer(psinks, (heads,), "float32")
        out = T.match_buffer(pout, (extent, width), "float32")
        for block in T.thread_binding((extent + tile - 1) // tile, thread="blockIdx.y"):
            for head in T.thread_binding(heads, thread="blockIdx.x"):
                for thread in T.thread_binding(plan.threads, thread="threadIdx.x"):
                    near = T.alloc_buffer((plan.near_words,), "uint32", scope=plan.scope)
                    position = T.alloc_buffer((plan.lane_rows,), "int32", scope="local")
                    reach = T.alloc_buffer((3,), "int32", scope="local")
                    cursor = T.alloc_buffer((3,), "int32", scope="local")
                    places = T.alloc_buffer((3 * plan.blocks,), "int32", scope="local")
                    queries = T.alloc_buffer((plan.query_words,), "uint32", scope="local")
                    output = T.alloc_buffer((plan.output(fragments, 0),), "float32", scope="local")
                    largest = T.alloc_buffer((plan.lane_rows,), "float32", scope="local")
                    total = T.alloc_buffer((plan.lane_rows,), "float32", scope="local")
                    first_row = T.meta_var(((extent + tile - 1) // tile - 1 - block) * tile)
                    kv_head = T.meta_var(head // shape.query_heads)
                    find_rows(positions, position, reach, thread, first_row, extent, plan)
                    begin = T.meta_var(plan.first_step(positions[first_row]))
                    begin_cursor(cursor, begin, page_size, plan)
                    if reach[2] > 0:
                        find_places(tables, cursor, places, reach[2], page_size, plan)
                        copy_keys(keys, near, places, thread, kv_head, plan)
                    T.evaluate(copy_async_commit())
                    load_queries(q, queries, near, thread, first_row, extent, head, plan)
                    begin_sums(output, largest, total, sinks, head, thread, plan)
                    for step in T.serial(begin, (reach[2] + plan.tokens - 1) // plan.tokens):
                        take_step(
                            keys, values, tables, near, cursor, places, queries, output, largest,
                            total, position, reach, thread, head, kv_head, step * plan.tokens,
                            page_size, plan,
                        )  # fmt: skip
                    store(out, output, position, total, thread, first_row, extent, head, plan)
                    if head == 0:
                        fill_padding(out, thread, first_row, extent, width, plan)

    func = func if shape.variant.sinks else without(func, ["sinks"])
    return resident(func, plan.tile.workgroups)
