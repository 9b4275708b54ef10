# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Causal attention of many query rows over paged keys and values on cooperative matrices.

computes  what prefill_attention of attention.py computes, of pages in float16
mapping   workgroup  `rows` rows of a KV head, a row being a query head of a token; the last rows
                     first: they have most tokens
          subgroup   `row_tiles` matrices of rows; tokens in steps of `tokens`, online softmax
          lane       attention_cooperative_blocks.py
traffic   keys and values once per workgroup, by way of registers and shared memory: values arrive
          while scores are made, the next keys while values are summed (arXiv 2307.08691). Sums
          stay matrices from the first step to the last; scores pass through shared memory, and
          weights in float16 back.
accuracy  queries and weights round to float16, sums are float32, as in attention_matrix.py

The order in which a row adds does not depend on the rows beside it, the chunk or the page size: a
row's factor is its own, and 1 where only its neighbours are rescaled.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_cooperative_blocks import find_rows, score, softmax, weigh
from ferrylm.schedules.gpu.attention_cooperative_copies import (
    fetch_keys,
    fetch_values,
    load_queries,
    place_held,
    place_queries,
    store,
)
from ferrylm.schedules.gpu.attention_cooperative_plan import WORDS, CooperativeAttentionPlan
from ferrylm.schedules.gpu.attention_matrix_blocks import find_places
from ferrylm.schedules.gpu.cooperative_operations import clear, subgroup_id
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded
from ferrylm.schedules.gpu.row_counts import row_count


@T.inline
def begin_sums(output, largest, total, plan):  # noqa: D103
    for i in T.unroll(plan.tile.row_tiles * plan.depths):
        T.evaluate(clear(output[i], (plan.size, plan.size, plan.size)))
    for f in T.unroll(plan.tile.row_tiles):
        largest[f] = T.float32(MASKED)
        total[f] = T.float32(0)


@T.inline
def take_step(  # noqa: D103
    keys, values, tables, near, cursor, places, held, queries, output, largest, total, position,
    reach, subgroup, thread, kv_head, first, page_size, plan,
):  # fmt: skip
    T.tvm_storage_sync("shared")
    fetch_values(values, held, places, thread, kv_head, plan)
    if first <= reach[1]:
        score(queries, near, subgroup, plan)
        softmax(
            near, output, largest, total, position, reach, first, subgroup, thread % plan.width,
            plan,
        )  # fmt: skip
    place_held(near, held, thread, False, plan)
    T.tvm_storage_sync("shared")
    find_places(tables, cursor, places, reach[2], page_size, plan)
    fetch_keys(keys, held, places, thread, kv_head, plan)
    if first <= reach[1]:
        weigh(near, output, subgroup, plan)
    place_held(near, held, thread, True, plan)


@T.inline
def fill_padding(out, thread, first_row, rows, width, plan):  # noqa: D103
    # Columns beyond the heads, of the tokens whose first head is among the workgroup's rows.
    used = T.meta_var(plan.shape.num_heads * plan.head_dim)
    if used < width:
        for i in T.serial(T.min(plan.rows, rows - first_row)):
            for j in T.unroll((width - used + plan.threads - 1) // plan.threads):
                column = T.meta_var(used + j * plan.threads + thread)
                if (first_row + i) % plan.heads == 0 and column < width:
                    out[(first_row + i) // plan.heads, column] = T.float32(0)


def cooperative_prefill_attention(rows: Rows, plan: CooperativeAttentionPlan) -> Any:
    """Return the PrimFunc (q, keys, values, block_tables, positions, out), all rows one sequence.

    The rows are consecutive positions, then padding; a row of padding gives zeros.
    """
    extent, shape, tile = row_count(rows), plan.shape, plan.tile
    head_dim, heads, kv_heads = shape.head_dim, shape.num_heads, shape.num_kv_heads
    width, count, block_rows = padded(heads * head_dim), extent * plan.heads, plan.rows
    blocks = (count + block_rows - 1) // block_rows

    @T.prim_func(s_tir=True, private=True)
    def func(
        pq: T.handle, pkeys: T.handle, pvalues: T.handle, ptables: T.handle,
        ppositions: T.handle, pout: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": plan.width})
        pages, page_size, table_width = T.int32(), T.int32(), T.int32()
        q = T.match_buffer(pq, (extent, heads, head_dim), "float32")
        keys = T.match_buffer(
            pkeys, (pages, kv_heads, plan.vectors, page_size, KEY_VECTOR), "float16"
        )
        values = T.match_buffer(pvalues, (pages, kv_heads, page_size, head_dim), "float16")
        tables = T.match_buffer(ptables, (1, table_width), "int32")
        positions = T.match_buffer(ppositions, (extent,), "int32")
        out = T.match_buffer(pout, (extent, width), "float32")
        for block in T.thread_binding(blocks, thread="blockIdx.y"):
            for kv_head in T.thread_binding(kv_heads, thread="blockIdx.x"):
                for thread in T.thread_binding(plan.threads, thread="threadIdx.x"):
                    near = T.alloc_buffer((plan.near_vectors,), "uint32x4", scope="shared")
                    subgroup = T.alloc_buffer((1,), "int32", scope="local")
                    position = T.alloc_buffer((tile.row_tiles,), "int32", scope="local")
                    reach = T.alloc_buffer((3,), "int32", scope="local")
                    cursor = T.alloc_buffer((3,), "int32", scope="local")
                    places = T.alloc_buffer((3 * plan.blocks,), "int32", scope="local")
                    held = T.alloc_buffer(
                        (plan.blocks * plan.copies * WORDS,), "uint32", scope="local"
                    )
                    queries = T.alloc_buffer((plan.query_tiles,), "float16", scope="local")
                    output = T.alloc_buffer(
                        (tile.row_tiles * plan.depths,), "float32", scope="local"
                    )
                    largest = T.alloc_buffer((tile.row_tiles,), "float32", scope="local")
                    total = T.alloc_buffer((tile.row_tiles,), "float32", scope="local")
                    first_row = T.meta_var((blocks - 1 - block) * block_rows)
                    subgroup[0] = subgroup_id()
                    find_rows(
                        positions, position, reach, first_row, subgroup[0], thread, count, plan
                    )
                    for i in T.unroll(3):
                        cursor[i] = 0
                    place_queries(q, near, first_row, subgroup[0], thread, kv_head, count, plan)
                    load_queries(near, queries, subgroup[0], plan)
                    begin_sums(output, largest, total, plan)
                    # Queries may lie where keys and values come to lie.
                    T.tvm_storage_sync("shared")
                    if reach[2] > 0:
                        find_places(tables, cursor, places, reach[2], page_size, plan)
                        fetch_keys(keys, held, places, thread, kv_head, plan)
                        place_held(near, held, thread, True, plan)
                    for step in T.serial((reach[2] + plan.tokens - 1) // plan.tokens):
                        take_step(
                            keys, values, tables, near, cursor, places, held, queries, output,
                            largest, total, position, reach, subgroup[0], thread, kv_head,
                            step * plan.tokens, page_size, plan,
                        )  # fmt: skip
                    store(
                        near, out, output, position, total, first_row, subgroup[0],
                        thread % plan.width, kv_head, count, plan,
                    )  # fmt: skip
                    if kv_head == 0:
                        fill_padding(out, thread, first_row, count, width, plan)

    return func
