# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Rotary embedding of a prompt's queries and keys, and the append to their pages, on GPUs.

computes  (a, b) -> (a cos - b sin, b cos + a sin) for the halves a, b of each head ("rotate half",
          as Hugging Face's Llama has it), cos and sin of position * frequency from tables
shapes    qkv float32 (M, padded((Hq + 2 Hkv) * D)): query, key, value heads
          cos, sin float32 (C, D / 2); positions int32 (M,), -1 for a padding row
          block_tables int32 (1, W)
          q float32 (M, Hq, D), also scaled by shape.score_scale
          pages as in layout.py, written in place
mapping   workgroup  a row; lane  a pair of elements of one head after another
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded
from ferrylm.schedules.gpu.row_counts import row_count


def rope_append(rows: Rows, shape: AttentionShape, threads: int) -> Any:
    """Return the PrimFunc (qkv, cos, sin, positions, block_tables, keys, values, q).

    All rows belong to one sequence. Rows of padding append nothing; their queries are rotated as at
    position 0. (Of a decode step attention_decode.py does this.)
    """
    extent = row_count(rows)
    heads, kv_heads, head_dim = shape.num_heads, shape.num_kv_heads, shape.head_dim
    half, scale = head_dim // 2, shape.score_scale
    pairs = (heads + 2 * kv_heads) * half
    width = padded((heads + 2 * kv_heads) * head_dim)
    vectors, value_width = -(-head_dim // KEY_VECTOR), padded(head_dim, KEY_VECTOR)
    kv_dtype = shape.kv_dtype

    @T.prim_func(s_tir=True, private=True)
    def func(
        pqkv: T.handle, pcos: T.handle, psin: T.handle, ppositions: T.handle, ptables: T.handle,
        pkeys: T.handle, pvalues: T.handle, pq: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True})
        pages, page_size, table_width, context = T.int32(), T.int32(), T.int32(), T.int32()
        qkv = T.match_buffer(pqkv, (extent, width), "float32")
        cos = T.match_buffer(pcos, (context, half), "float32")
        sin = T.match_buffer(psin, (context, half), "float32")
        positions = T.match_buffer(ppositions, (extent,), "int32")
        tables = T.match_buffer(ptables, (1, table_width), "int32")
        keys = T.match_buffer(pkeys, (pages, kv_heads, vectors, page_size, KEY_VECTOR), kv_dtype)
        values = T.match_buffer(pvalues, (pages, kv_heads, page_size, value_width), kv_dtype)
        q = T.match_buffer(pq, (extent, heads, head_dim), "float32")
        for m in T.thread_binding(extent, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                where = T.alloc_buffer((2,), "int32", scope="local")
                turned = T.alloc_buffer((2,), "float32", scope="local")
                where[0] = T.max(positions[m], 0)
                where[1] = tables[0, T.truncdiv(where[0], page_size)]
                for i in T.serial((pairs + threads - 1) // threads):
                    head = T.meta_var((i * threads + thread) // half)
                    d = T.meta_var((i * threads + thread) % half)
                    if i * threads + thread < pairs:
                        turned[0] = qkv[m, head * head_dim + d]
                        turned[1] = qkv[m, head * head_dim + half + d]
                        if head < heads + kv_heads:
                            rotate(turned, cos[where[0], d], sin[where[0], d])
                        if head < heads:
                            q[m, head, d] = turned[0] * T.float32(scale)
                            q[m, head, half + d] = turned[1] * T.float32(scale)
                        else:
                            if positions[m] >= 0:
                                append(
                                    turned, keys, values, where, head - heads, d, half, kv_heads,
                                    page_size, kv_dtype,
                                )  # fmt: skip

    return func


@T.inline
def rotate(turned, cos, sin):  # noqa: D103
    first = T.alloc_buffer((1,), "float32", scope="local")
    first[0] = turned[0] * cos - turned[1] * sin
    turned[1] = turned[1] * cos + turned[0] * sin
    turned[0] = first[0]


@T.inline
def append(turned, keys, values, where, head, d, half, kv_heads, page_size, dtype):  # noqa: D103
    if head < kv_heads:
        keys[where[1], head, d // KEY_VECTOR, T.truncmod(where[0], page_size), d % KEY_VECTOR] = (
            T.cast(turned[0], dtype)
        )
        keys[
            where[1],
            head,
            (half + d) // KEY_VECTOR,
            T.truncmod(where[0], page_size),
            (half + d) % KEY_VECTOR,
        ] = T.cast(turned[1], dtype)
    else:
        values[where[1], head - kv_heads, T.truncmod(where[0], page_size), d] = T.cast(
            turned[0], dtype
        )
        values[where[1], head - kv_heads, T.truncmod(where[0], page_size), half + d] = T.cast(
            turned[1], dtype
        )
