# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Rotary embedding of queries and keys, and the append of keys and values to their pages.

computes  (a, b) -> (a cos - b sin, b cos + a sin) for the halves a, b of each head ("rotate half",
          as Hugging Face's Llama has it), cos and sin of position * frequency from tables;
          where the shape norms heads, of x / sqrt(mean(x^2) + eps) * gain of each head x
shapes    qkv float32 (M, padded((Hq + 2 Hkv) * D, 16)): query, key, value heads
          cos, sin float32 (C, D / 2), or those of two rotary embeddings side by side
          positions int32 (M,), -1 for a padding row
          gains float32 (2 D,): of query heads, then of key heads
          q float32 (M, Hq, D), also scaled by shape.score_scale
          pages as in attention.py, written in place
mapping   rows in parallel when there are many
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.activations import row_loop
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.layout import padded
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.signature import without


def rope_append(rows: Rows, shape: AttentionShape, *, one_sequence: bool) -> Any:
    """Return the PrimFunc (qkv, cos, sin, positions, block_tables, keys, values, [gains], q).

    Row m belongs to sequence m, or to sequence 0 when there is only `one_sequence`. Rows of
    padding append nothing; their queries are rotated as at position 0.
    """
    extent, parallel = rows.symbol(), row_loop(rows)
    heads, kv_heads, head_dim = shape.num_heads, shape.num_kv_heads, shape.head_dim
    half, scale, angle = head_dim // 2, shape.score_scale, shape.first_angle
    lanes = next(n for n in (16, 8, 4, 2, 1) if half % n == 0)
    width = padded((heads + 2 * kv_heads) * head_dim)
    sequences = 1 if one_sequence else extent
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
        tables = T.match_buffer(ptables, (sequences, table_width), "int32")
        keys = T.match_buffer(pkeys, (pages, kv_heads, head_dim, page_size), shape.kv_dtype)
        values = T.match_buffer(pvalues, (pages, kv_heads, page_size, head_dim), shape.kv_dtype)
        q = T.match_buffer(pq, (extent, heads, head_dim), "float32")
        for m in parallel(extent):
            rotated = T.alloc_buffer((head_dim,), "float32", scope="local")
            where = T.alloc_buffer((3,), "int32", scope="local")
            where[0] = T.max(positions[m], 0)
            where[1] = tables[0 if one_sequence else m, where[0] // page_size]
            where[2] = where[0] % page_size
            for h in T.serial(heads):
                turn(
                    qkv, gains, m, h * head_dim, 0, cos, sin, where[0], angle, rotated, half, lanes,
                    eps, normed,
                )  # fmt: skip
                for i in T.serial(2 * half // lanes):
                    for lane in T.vectorized(lanes):
                        q[m, h, i * lanes + lane] = rotated[i * lanes + lane] * T.float32(scale)
            if positions[m] >= 0:
                for h in T.serial(kv_heads):
                    turn(
                        qkv, gains, m, (heads + h) * head_dim, head_dim, cos, sin, where[0],
                        angle, rotated, half, lanes, eps, normed,
                    )  # fmt: skip
                    for d in T.serial(head_dim):
                        keys[where[1], h, d, where[2]] = T.cast(rotated[d], shape.kv_dtype)
                    for i in T.serial(2 * half // lanes):
                        for lane in T.vectorized(lanes):
                            values[where[1], h, where[2], i * lanes + lane] = T.cast(
                                qkv[m, (heads + kv_heads + h) * head_dim + i * lanes + lane],
                                shape.kv_dtype,
                            )

    return func if normed else without(func, ["gains"])


@T.inline
def norm_head(qkv, gains, m, first, gain, head, half, lanes, eps):  # noqa: D103
    squares = T.alloc_buffer((lanes,), "float32", scope="local")
    total = T.alloc_buffer((1,), "float32", scope="local")
    for lane in T.vectorized(lanes):
        squares[lane] = T.float32(0)
    for i in T.serial(2 * half // lanes):
        for lane in T.vectorized(lanes):
            squares[lane] = (
                squares[lane] + qkv[m, first + i * lanes + lane] * qkv[m, first + i * lanes + lane]
            )
    total[0] = T.float32(0)
    for lane in T.serial(lanes):
        total[0] = total[0] + squares[lane]
    total[0] = T.float32(1) / T.sqrt(total[0] * T.float32(1 / (2 * half)) + T.float32(eps))
    for i in T.serial(2 * half // lanes):
        for lane in T.vectorized(lanes):
            head[0, i * lanes + lane] = (
                qkv[m, first + i * lanes + lane] * total[0] * gains[gain + i * lanes + lane]
            )


@T.inline
def rotate(qkv, m, first, cos, sin, position, angle, rotated, half, lanes):  # noqa: D103
    for i in T.serial(half // lanes):
        for lane in T.vectorized(lanes):
            rotated[i * lanes + lane] = (
                qkv[m, first + i * lanes + lane] * cos[position, angle + i * lanes + lane]
                - qkv[m, first + half + i * lanes + lane] * sin[position, angle + i * lanes + lane]
            )
        for lane in T.vectorized(lanes):
            rotated[half + i * lanes + lane] = (
                qkv[m, first + half + i * lanes + lane] * cos[position, angle + i * lanes + lane]
                + qkv[m, first + i * lanes + lane] * sin[position, angle + i * lanes + lane]
            )


@T.inline
def turn(  # noqa: D103
    qkv, gains, m, first, gain, cos, sin, position, angle, rotated, half, lanes, eps, normed
):
    if normed:
        head = T.alloc_buffer((1, 2 * half), "float32", scope="local")
        norm_head(qkv, gains, m, first, gain, head, half, lanes, eps)
        rotate(head, 0, 0, cos, sin, position, angle, rotated, half, lanes)
    else:
        rotate(qkv, m, first, cos, sin, position, angle, rotated, half, lanes)
