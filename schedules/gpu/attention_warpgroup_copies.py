# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""What the copying warpgroup of attention does; names and mapping: attention_warpgroup.py.

Keys (P, Hkv, D / 8, page, 8) are core matrices as they lie in a page: eight tokens' vectors follow
one another. Values, of which a token's vectors do, go where the 128-byte swizzle wants them.
Threads copy 16 bytes each: the copy engine would take a command for each vector of a block of keys,
which a warp gives one after another. On an H200 a prompt of 2048 tokens (heads of Llama 3 8B) took
156 us with that and values without a swizzle, 113 us with threads that copy, and 88 us with the
swizzle too and a softmax in four chains.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.attention_matrix_operations import copy_async
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.attention_warpgroup_operations import (
    signal_give_copied,
    signal_wait,
)
from ferrylm.schedules.gpu.attention_warpgroup_plan import (
    CORE_ROWS,
    GROUP_THREADS,
    VECTOR_WORDS,
)
from ferrylm.schedules.gpu.attention_warpgroup_signals import (
    KEYS_READ,
    KEYS_THERE,
    VALUES_READ,
    VALUES_THERE,
    parity_of,
    signal_at,
)
from ferrylm.schedules.gpu.layout import KEY_VECTOR


def value_place(thread: Any, vectors: int) -> Any:
    """Return where in a step's values the vector goes that a thread copies first.

    Eight tokens' 128 bytes follow one another, of each vectors exchanged by the token's number
    (PTX ISA, wgmma, 128-byte swizzle).
    """
    token, vector = thread // vectors % CORE_ROWS, thread % vectors
    atom = thread // vectors // CORE_ROWS * (vectors // CORE_ROWS) + vector // CORE_ROWS
    inside = token * CORE_ROWS + T.bitwise_xor(vector % CORE_ROWS, token)
    return atom * CORE_ROWS * CORE_ROWS + inside


def near_at(near: Any, vector: Any) -> Any:
    """Return the address of a vector in shared memory."""
    return T.address_of(near[vector * VECTOR_WORDS])


@T.inline
def find_block(tables, place, index, first, tokens, page_size):  # noqa: D103
    # place: page, slot in it, last valid offset. A block beyond the last one is that again.
    begin = T.meta_var(T.min(first, T.truncdiv(tokens - 1, BLOCK) * BLOCK))
    place[3 * index] = tables[0, T.truncdiv(begin, page_size)]
    place[3 * index + 1] = T.truncmod(begin, page_size)
    place[3 * index + 2] = T.min(tokens - 1 - begin, BLOCK - 1)


@T.inline
def copy_keys(  # noqa: D103
    keys, near, tables, turn, step, tokens, kv_head, thread, page_size, plan
):
    place = T.alloc_buffer((3 * plan.blocks,), "int32", scope="local")
    for b in T.unroll(plan.blocks):
        find_block(tables, place, b, step * plan.tokens + b * BLOCK, tokens, page_size)
    T.evaluate(signal_wait(signal_at(near, KEYS_READ, turn, plan), 1 - parity_of(turn, plan)))
    for b in T.unroll(plan.blocks):
        for i in T.unroll(BLOCK * plan.vectors // GROUP_THREADS):
            e = T.meta_var(i * GROUP_THREADS + thread)
            T.evaluate(
                copy_async(
                    near_at(
                        near,
                        T.truncmod(turn, plan.stages) * plan.tile_vectors
                        + e // BLOCK * plan.tokens
                        + b * BLOCK
                        + e % BLOCK,
                    ),
                    T.address_of(
                        keys[place[3 * b], kv_head, e // BLOCK, place[3 * b + 1] + e % BLOCK, 0]
                    ),
                )
            )
    T.evaluate(signal_give_copied(signal_at(near, KEYS_THERE, turn, plan)))


@T.inline
def copy_step(values, near, place, turn, kv_head, thread, whole, plan):  # noqa: D103
    for i in T.unroll(plan.tile_vectors // GROUP_THREADS):
        block = T.meta_var(i * GROUP_THREADS // (BLOCK * plan.vectors))
        offset = T.meta_var((i * GROUP_THREADS % (BLOCK * plan.vectors) + thread) // plan.vectors)
        T.evaluate(
            copy_async(
                near_at(
                    near,
                    plan.values_at
                    + T.truncmod(turn, plan.stages) * plan.tile_vectors
                    + i * GROUP_THREADS
                    + value_place(thread, plan.vectors),
                ),
                T.address_of(
                    values[
                        place[3 * block],
                        kv_head,
                        place[3 * block + 1]
                        + (offset if whole else T.min(offset, place[3 * block + 2])),
                        thread % plan.vectors * KEY_VECTOR,
                    ]
                ),
            )
        )


@T.inline
def copy_values(  # noqa: D103
    values, near, tables, turn, step, tokens, kv_head, thread, page_size, plan
):
    # Eight lanes take a vector of eight tokens: a core matrix, 128 bytes in shared memory.
    place = T.alloc_buffer((3 * plan.blocks,), "int32", scope="local")
    for b in T.unroll(plan.blocks):
        find_block(tables, place, b, step * plan.tokens + b * BLOCK, tokens, page_size)
    T.evaluate(signal_wait(signal_at(near, VALUES_READ, turn, plan), 1 - parity_of(turn, plan)))
    if (step + 1) * plan.tokens <= tokens:
        copy_step(values, near, place, turn, kv_head, thread, True, plan)
    else:
        copy_step(values, near, place, turn, kv_head, thread, False, plan)
    T.evaluate(signal_give_copied(signal_at(near, VALUES_THERE, turn, plan)))


@T.inline
def copy_all(  # noqa: D103
    keys, values, near, tables, turn, tokens, steps, kv_head, thread, page_size, plan
):
    copy_keys(keys, near, tables, turn, 0, tokens, kv_head, thread, page_size, plan)
    for step in T.serial(steps):
        if step + 1 < steps:
            copy_keys(
                keys, near, tables, turn + step + 1, step + 1, tokens, kv_head, thread,
                page_size, plan,
            )  # fmt: skip
        copy_values(
            values, near, tables, turn + step, step, tokens, kv_head, thread, page_size,
            plan,
        )  # fmt: skip
