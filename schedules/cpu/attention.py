# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Causal attention of a few query rows over paged keys and values, on CPUs.

computes  out[m, h] = sum_t softmax_t(q[m, h] . k[t, h // R]) * v[t, h // R], t <= position[m],
          or a variant of it (AttentionVariant)
shapes    q float32 (M, Hq, D), scaled already
          keys (P, Hkv, D, page), values (P, Hkv, page, D), float16 or float32
          block_tables int32 (S, W); positions int32 (M,), -1 for a padding row
          out float32 (M, padded(Hq * D, 16))
mapping   parallel  (query tile, KV head) in prefill; (sequence, KV head, chunk) in decode
          tokens    chunks of CHUNK, each with a softmax of its own, merged in order
          lanes     32 tokens for scores, 16 of D for values; one load serves all query rows of the
                    tile and all R query heads of the KV head
limits    page a multiple of TOKENS, D even
traffic   keys and values once per query tile; with a window those of the blocks that it reaches

Prefill and decode take the same steps in the same order, so their results are bit for bit equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant
from ferrylm.schedules.attention_scores import first_seen_in
from ferrylm.schedules.cpu.attention_blocks import (
    CHUNK,
    TOKENS,
    attend_chunk,
    begin_row,
    merge_chunk,
)
from ferrylm.schedules.cpu.layout import padded
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.signature import without

__all__ = ["CHUNK", "TOKENS", "AttentionShape", "decode_attention", "prefill_attention"]


@dataclass(frozen=True)
class AttentionShape:
    """Heads, precision and variant of a layer; `query_tile` rows of queries share a task."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    kv_dtype: str
    query_tile: int = 1
    variant: AttentionVariant = PLAIN_ATTENTION
    head_norm_eps: float | None = None  # of an RMSNorm of each query and key head before RoPE
    ropes: int = 1  # tables of angles side by side

    @property
    def angles(self) -> int:
        """Return the columns of the tables of cosines and sines."""
        return self.ropes * (self.head_dim // 2)

    @property
    def first_angle(self) -> int:
        """Return at which of them the variant's table begins."""
        return self.head_dim // 2 if self.variant.local_rope else 0

    @property
    def norms_heads(self) -> bool:
        """Whether each query and key head is normalized before it is rotated."""
        return self.head_norm_eps is not None

    @property
    def score_scale(self) -> float:
        """Return what queries are multiplied by."""
        return self.variant.scale(self.head_dim)

    @property
    def query_heads(self) -> int:
        """Return R, the number of query heads of a KV head."""
        return self.num_heads // self.num_kv_heads

    @property
    def lanes(self) -> int:
        """Return how many elements of a head one vector holds."""
        return next(n for n in (16, 8, 4, 2, 1) if self.head_dim % n == 0)


def query_tile(shape: AttentionShape, register_rows: int, row_tile: int) -> int:
    """Return how many query rows share a task so that R of each fit `register_rows`."""
    most = max(1, register_rows // shape.query_heads)
    return max(n for n in range(1, most + 1) if row_tile % n == 0)


def first_of_chunk(chunk: Any, position: Any, variant: AttentionVariant) -> Any:
    """Return the token where a chunk begins, or the first block of it that is seen."""
    if variant.window_tokens is None:
        return chunk * CHUNK
    return T.max(chunk * CHUNK, first_seen_in(TOKENS, position, variant) * TOKENS)


def most_chunks(tokens: Any, variant: AttentionVariant) -> Any:
    """Return how many chunks a query of a sequence of that many tokens sees at most."""
    chunks = (tokens + CHUNK - 1) // CHUNK
    if variant.window_tokens is None:
        return chunks
    return T.min(chunks, T.int32((variant.window_tokens + CHUNK - 2) // CHUNK + 1))


def prefill_attention(rows: Rows, shape: AttentionShape) -> Any:
    """Return the PrimFunc (q, keys, values, block_tables, positions, out), all rows one sequence.

    The rows are consecutive positions, then padding; a row of padding gives finite numbers. A
    variant with sinks takes them, float32 (Hq,), before out.
    """
    extent, tile, heads = rows.symbol(), shape.query_tile, shape.query_heads
    head_dim, width = shape.head_dim, padded(shape.num_heads * shape.head_dim)
    variant = shape.variant

    @T.prim_func(s_tir=True, private=True)
    def func(
        pq: T.handle, pkeys: T.handle, pvalues: T.handle, ptables: T.handle,
        ppositions: T.handle, psinks: T.handle, pout: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True})
        pages, page_size, table_width = T.int32(), T.int32(), T.int32()
        q = T.match_buffer(pq, (extent, shape.num_heads, head_dim), "float32")
        keys = T.match_buffer(
            pkeys, (pages, shape.num_kv_heads, head_dim, page_size), shape.kv_dtype
        )
        values = T.match_buffer(
            pvalues, (pages, shape.num_kv_heads, page_size, head_dim), shape.kv_dtype
        )
        tables = T.match_buffer(ptables, (1, table_width), "int32")
        positions = T.match_buffer(ppositions, (extent,), "int32")
        sinks = T.match_buffer(psinks, (shape.num_heads,), "float32")
        out = T.match_buffer(pout, (extent, width), "float32")
        for task in T.parallel(extent // tile * shape.num_kv_heads):
            largest = T.alloc_buffer((tile * heads,), "float32", scope="local")
            sums = T.alloc_buffer((tile * heads, 16), "float32", scope="local")
            output = T.alloc_buffer((tile * heads, head_dim), "float32", scope="local")
            merged = T.alloc_buffer((tile * heads, head_dim + 2), "float32", scope="local")
            last = T.alloc_buffer((1,), "int32", scope="local")
            last[0] = 0
            for m in T.serial(tile):
                last[0] = T.max(last[0], positions[task // shape.num_kv_heads * tile + m] + 1)
            for r in T.serial(tile * heads):
                begin_row(merged, r, sinks, task % shape.num_kv_heads * heads + r % heads, shape)
            # Of all rows of a tile the first one sees the earliest tokens.
            earliest = T.meta_var(positions[task // shape.num_kv_heads * tile])
            for chunk in T.serial(
                first_seen_in(CHUNK, earliest, variant), (last[0] + CHUNK - 1) // CHUNK
            ):
                attend_chunk(
                    q, keys, values, tables, positions, task // shape.num_kv_heads * tile,
                    task % shape.num_kv_heads * heads, 0, task % shape.num_kv_heads,
                    first_of_chunk(chunk, earliest, variant),
                    T.min(last[0], chunk * CHUNK + CHUNK), page_size,
                    largest, sums, output, shape,
                )  # fmt: skip
                for r in T.serial(tile * heads):
                    merge_chunk(merged, r, largest[r], sums[r, 0], output, r, shape)
            for r in T.serial(tile * heads):
                for d in T.serial(head_dim):
                    out[
                        task // shape.num_kv_heads * tile + r // heads,
                        (task % shape.num_kv_heads * heads + r % heads) * head_dim + d,
                    ] = merged[r, d] / T.max(merged[r, head_dim + 1], T.float32(1e-30))

    return func if variant.sinks else without(func, ["sinks"])


def decode_attention(batch: int, shape: AttentionShape) -> Any:
    """Return the PrimFunc (q, keys, values, block_tables, positions, out), a sequence a row.

    A variant with sinks takes them before out.
    """
    heads, kv_heads = shape.query_heads, shape.num_kv_heads
    head_dim, width = shape.head_dim, padded(shape.num_heads * shape.head_dim)
    variant = shape.variant

    @T.prim_func(s_tir=True, private=True)
    def func(
        pq: T.handle, pkeys: T.handle, pvalues: T.handle, ptables: T.handle,
        ppositions: T.handle, psinks: T.handle, pout: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True})
        pages, page_size, table_width = T.int32(), T.int32(), T.int32()
        q = T.match_buffer(pq, (batch, shape.num_heads, head_dim), "float32")
        keys = T.match_buffer(pkeys, (pages, kv_heads, head_dim, page_size), shape.kv_dtype)
        values = T.match_buffer(pvalues, (pages, kv_heads, page_size, head_dim), shape.kv_dtype)
        tables = T.match_buffer(ptables, (batch, table_width), "int32")
        positions = T.match_buffer(ppositions, (batch,), "int32")
        sinks = T.match_buffer(psinks, (shape.num_heads,), "float32")
        out = T.match_buffer(pout, (batch, width), "float32")
        chunks = T.meta_var(most_chunks(table_width * page_size, variant))
        partial = T.alloc_buffer((batch * kv_heads, chunks, heads, head_dim + 2), "float32")
        for task in T.parallel(batch * kv_heads * chunks):
            position = T.meta_var(positions[task // chunks // kv_heads])
            chunk = T.meta_var(first_seen_in(CHUNK, position, variant) + task % chunks)
            if chunk * CHUNK <= position:
                largest = T.alloc_buffer((heads,), "float32", scope="local")
                sums = T.alloc_buffer((heads, 16), "float32", scope="local")
                output = T.alloc_buffer((heads, head_dim), "float32", scope="local")
                attend_chunk(
                    q, keys, values, tables, positions, task // chunks // kv_heads,
                    task // chunks % kv_heads * heads, task // chunks // kv_heads,
                    task // chunks % kv_heads, first_of_chunk(chunk, position, variant),
                    T.min(position + 1, chunk * CHUNK + CHUNK),
                    page_size, largest, sums, output, shape,
                )  # fmt: skip
                for r in T.serial(heads):
                    for d in T.serial(head_dim):
                        partial[task // chunks, task % chunks, r, d] = output[r, d]
                    partial[task // chunks, task % chunks, r, head_dim] = largest[r]
                    partial[task // chunks, task % chunks, r, head_dim + 1] = sums[r, 0]
        for row in T.serial(batch * kv_heads * heads):
            merged = T.alloc_buffer((1, head_dim + 2), "float32", scope="local")
            chunk_output = T.alloc_buffer((1, head_dim), "float32", scope="local")
            begin_row(merged, 0, sinks, row // heads % kv_heads * heads + row % heads, shape)
            position = T.meta_var(positions[row // heads // kv_heads])
            count = T.meta_var(
                (position + CHUNK) // CHUNK - first_seen_in(CHUNK, position, variant)
            )
            for chunk in T.serial(count):
                for d in T.serial(head_dim):
                    chunk_output[0, d] = partial[row // heads, chunk, row % heads, d]
                merge_chunk(
                    merged, 0, partial[row // heads, chunk, row % heads, head_dim],
                    partial[row // heads, chunk, row % heads, head_dim + 1], chunk_output, 0,
                    shape,
                )  # fmt: skip
            for d in T.serial(head_dim):
                out[
                    row // heads // kv_heads,
                    (row // heads % kv_heads * heads + row % heads) * head_dim + d,
                ] = merged[0, d] / T.max(merged[0, head_dim + 1], T.float32(1e-30))

    return func if variant.sinks else without(func, ["sinks"])
