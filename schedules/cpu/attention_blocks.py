# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""The pieces of attention over paged keys and values that prefill and decode share, on CPUs.

A task has rows r = 0 .. query_tile * R - 1: R query heads of each of its query tokens. It walks a
chunk of tokens in blocks: scores, an online softmax (arXiv 1805.02867), values. Every buffer is of
float32; names and layouts are those of attention.py.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.attention_scores import adjusted, adjusts, alibi_slope, sees
from ferrylm.schedules.math import exp

TOKENS = 32  # of a block
HALF = 16
CHUNK = 128  # tokens with a softmax of their own
MASKED = -1e30  # the score of a token that a query must not see


def weight(score: Any, largest: Any, variant: AttentionVariant) -> Any:
    """Return e^(score - largest).

    A window may hide all tokens so far: then that would be 1 for what is hidden. Without one a row
    has seen a token before, and e^-87 of those that it must not see changes no bit.
    """
    found = exp(score - largest)
    if variant.window_tokens is None:
        return found
    # In this order of operands a score that is not a number stays one.
    return T.Select(score <= T.float32(MASKED), T.float32(0), found)


@T.inline
def score_block(q, keys, positions, row0, head0, page, kv_head, slot, token, scores, shape):  # noqa: D103
    # Half a block at a time: a buffer of all sums would be too large for the stack, and LLVM keeps
    # no sums of a heap buffer in registers.
    column = T.alloc_buffer((HALF,), "float32", scope="local")
    sums = T.alloc_buffer((shape.query_tile * shape.query_heads, HALF), "float32", scope="local")
    for half in T.serial(TOKENS // HALF):
        for r in T.unroll(shape.query_tile * shape.query_heads):
            for lane in T.vectorized(HALF):
                sums[r, lane] = T.float32(0)
        for d in T.serial(shape.head_dim):
            for lane in T.vectorized(HALF):
                column[lane] = T.cast(keys[page, kv_head, d, slot + half * HALF + lane], "float32")
            for r in T.unroll(shape.query_tile * shape.query_heads):
                for lane in T.vectorized(HALF):
                    sums[r, lane] = (
                        sums[r, lane]
                        + q[row0 + r // shape.query_heads, head0 + r % shape.query_heads, d]
                        * column[lane]
                    )
        for r in T.unroll(shape.query_tile * shape.query_heads):
            position = T.meta_var(positions[row0 + r // shape.query_heads])
            if adjusts(shape.variant):
                slope = T.meta_var(
                    alibi_slope(head0 + r % shape.query_heads, shape.num_heads, shape.variant, exp)
                )
                for lane in T.vectorized(HALF):
                    sums[r, lane] = adjusted(
                        sums[r, lane], token + half * HALF + lane - position, slope,
                        shape.variant.soft_cap, exp,
                    )  # fmt: skip
            for lane in T.vectorized(HALF):
                scores[r, half * HALF + lane] = T.Select(
                    sees(token + half * HALF + lane, position, shape.variant),
                    sums[r, lane],
                    T.float32(MASKED),
                )


@T.inline
def softmax_block(scores, largest, sums, output, shape):  # noqa: D103
    half = T.alloc_buffer((16,), "float32", scope="local")
    factor = T.alloc_buffer((2,), "float32", scope="local")
    for r in T.serial(shape.query_tile * shape.query_heads):
        for lane in T.vectorized(16):
            half[lane] = T.max(scores[r, lane], scores[r, 16 + lane])
        for lane in T.vectorized(8):
            half[lane] = T.max(half[lane], half[8 + lane])
        for lane in T.vectorized(4):
            half[lane] = T.max(half[lane], half[4 + lane])
        factor[0] = T.max(T.max(T.max(half[0], half[1]), T.max(half[2], half[3])), largest[r])
        factor[1] = exp(largest[r] - factor[0])
        largest[r] = factor[0]
        for lane in T.vectorized(TOKENS):
            scores[r, lane] = weight(scores[r, lane], factor[0], shape.variant)
        for lane in T.vectorized(16):
            sums[r, lane] = sums[r, lane] * factor[1] + (scores[r, lane] + scores[r, 16 + lane])
        for d in T.serial(shape.head_dim // shape.lanes):
            for lane in T.vectorized(shape.lanes):
                output[r, d * shape.lanes + lane] = output[r, d * shape.lanes + lane] * factor[1]


@T.inline
def value_block(values, page, kv_head, slot, scores, output, shape):  # noqa: D103
    sums = T.alloc_buffer(
        (shape.query_tile * shape.query_heads, shape.lanes), "float32", scope="local"
    )
    row = T.alloc_buffer((shape.lanes,), "float32", scope="local")
    for d in T.serial(shape.head_dim // shape.lanes):
        for r in T.unroll(shape.query_tile * shape.query_heads):
            for lane in T.vectorized(shape.lanes):
                sums[r, lane] = output[r, d * shape.lanes + lane]
        for t in T.serial(TOKENS):
            for lane in T.vectorized(shape.lanes):
                row[lane] = T.cast(
                    values[page, kv_head, slot + t, d * shape.lanes + lane], "float32"
                )
            for r in T.unroll(shape.query_tile * shape.query_heads):
                for lane in T.vectorized(shape.lanes):
                    sums[r, lane] = sums[r, lane] + scores[r, t] * row[lane]
        for r in T.unroll(shape.query_tile * shape.query_heads):
            for lane in T.vectorized(shape.lanes):
                output[r, d * shape.lanes + lane] = sums[r, lane]


@T.inline
def attend_chunk(  # noqa: D103
    q, keys, values, tables, positions, row0, head0, sequence, kv_head, first, last, page_size,
    largest, sums, output, shape,
):  # fmt: skip
    scores = T.alloc_buffer(
        (shape.query_tile * shape.query_heads, TOKENS), "float32", scope="local"
    )
    for r in T.serial(shape.query_tile * shape.query_heads):
        largest[r] = T.float32(MASKED)
        for lane in T.vectorized(16):
            sums[r, lane] = T.float32(0)
        for d in T.serial(shape.head_dim // shape.lanes):
            for lane in T.vectorized(shape.lanes):
                output[r, d * shape.lanes + lane] = T.float32(0)
    for block in T.serial((last - first + TOKENS - 1) // TOKENS):
        score_block(
            q, keys, positions, row0, head0,
            tables[sequence, (first + block * TOKENS) // page_size], kv_head,
            (first + block * TOKENS) % page_size, first + block * TOKENS, scores, shape,
        )  # fmt: skip
        softmax_block(scores, largest, sums, output, shape)
        value_block(
            values, tables[sequence, (first + block * TOKENS) // page_size], kv_head,
            (first + block * TOKENS) % page_size, scores, output, shape,
        )  # fmt: skip
    for r in T.serial(shape.query_tile * shape.query_heads):
        for lane in T.serial(1, 16):
            sums[r, 0] = sums[r, 0] + sums[r, lane]


@T.inline
def begin_row(merged, row, sinks, head, shape):  # noqa: D103
    # A sink is a token before all others, whose value is zero.
    for d in T.serial(shape.head_dim):
        merged[row, d] = T.float32(0)
    if shape.variant.sinks:
        merged[row, shape.head_dim] = sinks[head]
        merged[row, shape.head_dim + 1] = T.float32(1)
    else:
        merged[row, shape.head_dim] = T.float32(MASKED)
        merged[row, shape.head_dim + 1] = T.float32(0)


@T.inline
def merge_chunk(merged, row, chunk_largest, chunk_total, chunk_output, chunk_row, shape):  # noqa: D103
    # A merged row holds D outputs, then the largest score and the total of the weights.
    factor = T.alloc_buffer((3,), "float32", scope="local")
    factor[0] = T.max(merged[row, shape.head_dim], chunk_largest)
    factor[1] = exp(merged[row, shape.head_dim] - factor[0])
    factor[2] = exp(chunk_largest - factor[0])
    merged[row, shape.head_dim] = factor[0]
    merged[row, shape.head_dim + 1] = (
        merged[row, shape.head_dim + 1] * factor[1] + chunk_total * factor[2]
    )
    for d in T.serial(shape.head_dim // shape.lanes):
        for lane in T.vectorized(shape.lanes):
            merged[row, d * shape.lanes + lane] = (
                merged[row, d * shape.lanes + lane] * factor[1]
                + chunk_output[chunk_row, d * shape.lanes + lane] * factor[2]
            )
