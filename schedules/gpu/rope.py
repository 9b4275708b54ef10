# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Rotary embedding of a prompt's queries and keys, and the append to their pages, on GPUs.

computes  (a, b) -> (a cos - b sin, b cos + a sin) for the halves a, b of each head ("rotate half",
          as Hugging Face's Llama has it), cos and sin of position * frequency from tables;
          where the shape norms heads, of x / sqrt(mean(x^2) + eps) * gain of each head x
shapes    qkv float32 (M, padded((Hq + 2 Hkv) * D)): query, key, value heads
          cos, sin float32 (C, D / 2), or those of two rotary embeddings side by side
          positions int32 (M,), -1 for a padding row
          block_tables int32 (1, W)
          gains float32 (2 D,): of query heads, then of key heads
          q float32 (M, Hq, D), also scaled by shape.score_scale
          pages as in layout.py, written in place
mapping   workgroup  a row; lane  a pair of elements of one head after another
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.head_norm import row_factors
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without


def rope_append(rows: Rows, shape: AttentionShape, threads: int, subgroup: int) -> Any:
    """Return the PrimFunc (qkv, cos, sin, positions, block_tables, keys, values, [gains], q).

    All rows belong to one sequence. Rows of padding append nothing; their queries are rotated as at
    position 0. (Of a decode step attention_decode.py does this.)
    """
    extent = row_count(rows)
    heads, kv_heads, head_dim = shape.num_heads, shape.num_kv_heads, shape.head_dim
    width = padded((heads + 2 * kv_heads) * head_dim)
    vectors, value_width = -(-head_dim // KEY_VECTOR), padded(head_dim, KEY_VECTOR)
    kv_dtype = shape.kv_dtype
    eps, normed = shape.head_norm_eps or 0.0, shape.norms_heads

    @T.prim_func(s_tir=True, private=True)
    def func(
        pqkv: T.handle, pcos: T.handle, psin: T.handle, ppositions: T.handle, ptables: T.handle,
        pkeys: T.handle, pvalues: T.handle, gains: T.Buffer((2 * head_dim,), "float32"),
        pq: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True})
        pages, page_size, table_width, context = T.int32(), T.int32(), T.int32(), T.int32()
        qkv = T.match_buffer(pqkv, (extent, width), "float32")
        cos = T.match_buffer(pcos, (context, shape.angles), "float32")
        sin = T.match_buffer(psin, (context, shape.angles), "float32")
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
                if normed:
                    factors = T.alloc_buffer((heads + kv_heads,), "float32", scope="shared")
                    row_factors(
                        factors, qkv, m, thread, threads, subgroup, heads + kv_heads, head_dim, eps
                    )
                    turn_row(
                        qkv, cos, sin, positions, keys, values, q, gains, factors, turned, where,
                        m, thread, threads, page_size, shape,
                    )  # fmt: skip
                else:
                    turn_row(
                        qkv, cos, sin, positions, keys, values, q, cos, cos, turned, where, m,
                        thread, threads, page_size, shape,
                    )  # fmt: skip

    if not normed:
        return without(func, ["gains"])
    return func.with_attr("ferrylm.subgroup_size", subgroup)


@T.inline
def scale_pair(turned, factor, gains, at, half):  # noqa: D103
    turned[0] = turned[0] * factor * gains[at]
    turned[1] = turned[1] * factor * gains[at + half]


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


@T.inline
def turn_row(  # noqa: D103
    qkv, cos, sin, positions, keys, values, q, gains, factors, turned, where, m, thread, threads,
    page_size, shape,
):  # fmt: skip
    heads, kv_heads, half = T.meta_var((shape.num_heads, shape.num_kv_heads, shape.head_dim // 2))
    pairs = T.meta_var((heads + 2 * kv_heads) * half)
    for i in T.serial((pairs + threads - 1) // threads):
        head = T.meta_var((i * threads + thread) // half)
        d = T.meta_var((i * threads + thread) % half)
        if i * threads + thread < pairs:
            turned[0] = qkv[m, head * (2 * half) + d]
            turned[1] = qkv[m, head * (2 * half) + half + d]
            if head < heads + kv_heads:
                if shape.norms_heads:
                    gain = T.meta_var(T.Select(head < heads, 0, 2 * half))
                    scale_pair(turned, factors[head], gains, gain + d, half)
                at = T.meta_var(shape.first_angle + d)
                rotate(turned, cos[where[0], at], sin[where[0], at])
            if head < heads:
                q[m, head, d] = turned[0] * T.float32(shape.score_scale)
                q[m, head, half + d] = turned[1] * T.float32(shape.score_scale)
            else:
                if positions[m] >= 0:
                    append(
                        turned, keys, values, where, head - heads, d, half, kv_heads, page_size,
                        shape.kv_dtype,
                    )  # fmt: skip
