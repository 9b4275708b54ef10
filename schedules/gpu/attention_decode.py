# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Attention of a decode step, from the projections to the next product's activations, on GPUs.

computes  rope.py for the step's queries and keys, the append of keys and values to their pages, and
          out[m, h] = sum_t softmax_t(q[m, h] . k[t, h // R]) * v[t, h // R], t <= position[m],
          or a variant of it, perhaps quantized for the product that follows
shapes    qkv, cos, sin, positions, pages as in rope.py; block_tables int32 (S, W)
          counters int32 (S, tasks), zeros before and after
          partial float32 (S * tasks, splits, partial_width), only what one launch says to itself
          out float32 (S, padded(Hq * D)), or codes and terms as in layout.py
mapping   workgroup  (sequence, some query heads of a KV head, a split of the tokens), or, where the
                     tile says that a sequence is short, (sequence, a query head)
          subgroup   a token per lane for scores, 8 elements of a value per lane for sums
limits    a page a multiple of BLOCK tokens
traffic   keys and values once per workgroup (arXiv 2205.14135; split over tokens as in
          "Flash-Decoding", pytorch.org, 2023)

Every workgroup rotates the queries that it needs. The one whose tokens include the step's own takes
that key and value from shared memory and writes them to their page, which nobody reads. Where a
sequence has several splits, each leaves its results and counts; the one that counts last adds all
of them up in their order, so that no bit depends on which it was, and sets the counter to 0 again.
That takes as long as a short sequence's tokens; so those are not split, their heads are.
Counters are 0 when a layer begins because the step's first kernel zeroes them (embedding.py),
whatever became of the step before, and each layer counts every split once before it zeroes them.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.attention_decode_workgroup import Ending, Given, attend_split
from ferrylm.schedules.gpu.layout import KEY_VECTOR, ActivationLayout, padded
from ferrylm.schedules.gpu.overlap import overlapped
from ferrylm.schedules.signature import without


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
    columns = shape.num_heads * head_dim
    qkv_width = padded((shape.num_heads + 2 * kv_heads) * head_dim)
    stored = layout or ActivationLayout(columns, 1)
    ending = Ending(stored, layout is not None, merged, overlap)
    near = plan.near if merged else None

    @T.prim_func(s_tir=True, private=True)
    def func(
        pqkv: T.handle, pcos: T.handle, psin: T.handle, ppositions: T.handle, ptables: T.handle,
        pkeys: T.handle, pvalues: T.handle, pgains: T.handle, psinks: T.handle, pcounters: T.handle,
        ppartial: T.handle, pout: T.handle, pcodes: T.handle, pterms: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": plan.subgroup})
        pages, page_size, table_width, context = T.int32(), T.int32(), T.int32(), T.int32()
        qkv = T.match_buffer(pqkv, (batch, qkv_width), "float32")
        cos = T.match_buffer(pcos, (context, shape.angles), "float32")
        sin = T.match_buffer(psin, (context, shape.angles), "float32")
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
                    at = T.alloc_buffer((1,), "int32", scope="local")
                    given = T.meta_var(
                        Given(
                            qkv, cos, sin, tables, keys, values, gains, sinks, counters, partial,
                            out, codes, terms, page_size,
                        )
                    )  # fmt: skip
                    m = T.meta_var(task // plan.tasks)
                    own = T.meta_var(task % plan.tasks)
                    at[0] = positions[m]
                    if near is None:
                        attend_split(given, m, task, own, split, at[0], thread, plan, ending)
                    else:
                        if plan.is_near(at[0]):
                            # A head of the task instead of a split of the tokens.
                            if split < plan.heads_of(own):
                                attend_split(
                                    given, m, task, plan.first_head(own) + split, 0, at[0], thread,
                                    near, ending,
                                )  # fmt: skip
                        else:
                            attend_split(given, m, task, own, split, at[0], thread, plan, ending)

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
