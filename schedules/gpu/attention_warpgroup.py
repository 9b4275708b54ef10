# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Causal attention of a prompt over paged keys and values by warpgroups; sm_90a alone.

computes  what prefill_attention of attention.py computes, of pages in float16
mapping   workgroup  stays on its multiprocessor for several tasks, the longest first. A task is 64
                     rows a multiplying warpgroup; rows are the R query heads of a KV head of a
                     token, then those of the next token
          warpgroup  the first copies, for the next task too (attention_warpgroup_copies.py), the
                     others multiply in steps of `tokens`, with an online softmax in registers
          lane       attention_warpgroup_blocks.py
traffic   keys and values once per task through shared memory, `stages` steps ahead
schedule  while a warpgroup makes weights of a step's scores, its products of the weights and
          values of the step before run in the background, and the other one's products beside them
          (FlashAttention-3, arXiv 2407.08608, sections 3.1 and 3.2)
accuracy  that of attention_matrix.py

The order in which a row adds does not depend on the rows beside it, the chunk or the page size.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_warpgroup_blocks import (
    begin_scores,
    begin_sums,
    copy_queries,
    find_positions,
    find_reach,
    make_weights,
    mask,
    rescale,
    softmax,
    store,
)
from ferrylm.schedules.gpu.attention_warpgroup_copies import copy_all
from ferrylm.schedules.gpu.attention_warpgroup_operations import (
    numbers_settle,
    products_fence,
    products_wait,
    registers_claim,
    registers_release,
    signal_never,
    turn_give,
    turn_wait,
)
from ferrylm.schedules.gpu.attention_warpgroup_plan import GROUP_THREADS, WIDTH, WarpgroupPlan
from ferrylm.schedules.gpu.attention_warpgroup_signals import (
    KEYS_READ,
    KEYS_THERE,
    VALUES_READ,
    VALUES_THERE,
    begin_signals,
    give_read,
    signal_at,
    wait_copied,
)
from ferrylm.schedules.gpu.by_chip import PROCESSORS
from ferrylm.schedules.gpu.launch_bounds import resident
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded
from ferrylm.schedules.gpu.operations import subgroup_broadcast
from ferrylm.schedules.gpu.row_counts import row_count

MINE, OTHERS = 1, 2  # numbers of barriers: whose turn it is to multiply


@T.inline
def take_first(  # noqa: D103
    near, scores, weights, factor, position, largest, total, turn, whole, thread, group,
    plan,
):  # fmt: skip
    wait_copied(near, KEYS_THERE, turn, plan)
    T.evaluate(products_fence())
    begin_scores(near, scores, turn, group, plan)
    T.evaluate(products_wait(0))
    T.evaluate(numbers_settle(T.address_of(scores[0]), plan.scores))
    give_read(near, KEYS_READ, turn, thread, plan)
    if whole == 0:
        mask(scores, position, thread, 0, plan)
    softmax(scores, factor, largest, total, plan)
    make_weights(scores, weights, plan)


@T.inline
def take_step(  # noqa: D103
    near, scores, weights, factor, output, position, largest, total, turn, step, steps,
    thread, group, masked, plan,
):  # fmt: skip
    wait_copied(near, KEYS_THERE, turn, plan)
    if plan.tile.turns:
        T.evaluate(turn_wait(MINE + group, 2 * GROUP_THREADS))
    T.evaluate(products_fence())
    begin_scores(near, scores, turn, group, plan)
    wait_copied(near, VALUES_THERE, turn - 1, plan)
    T.evaluate(products_fence())
    begin_sums(near, weights, output, turn - 1, plan)
    if plan.tile.turns:  # noqa: SIM102
        if group == 0 or step + 1 < steps:
            T.evaluate(turn_give(OTHERS - group, 2 * GROUP_THREADS))
    T.evaluate(products_wait(1))
    T.evaluate(numbers_settle(T.address_of(scores[0]), plan.scores))
    give_read(near, KEYS_READ, turn, thread, plan)
    if masked:
        mask(scores, position, thread, step * plan.tokens, plan)
    softmax(scores, factor, largest, total, plan)
    T.evaluate(numbers_settle(T.address_of(scores[0]), plan.scores))
    # The compiler would let the softmax wait for the sums; it keeps the order of signals.
    T.evaluate(signal_never(signal_at(near, KEYS_READ, turn, plan), total[0] + total[1]))
    T.evaluate(products_wait(0))
    T.evaluate(numbers_settle(T.address_of(output[0]), plan.outputs))
    give_read(near, VALUES_READ, turn - 1, thread, plan)
    make_weights(scores, weights, plan)
    rescale(output, factor, plan)


@T.inline
def multiply_all(  # noqa: D103
    near, output, position, largest, total, turn, steps, whole, thread, group, plan
):
    scores = T.alloc_buffer((plan.scores,), "float32", scope="local")
    weights = T.alloc_buffer((plan.scores // 2,), "uint32", scope="local")
    factor = T.alloc_buffer((2,), "float32", scope="local")
    if plan.tile.turns:  # noqa: SIM102
        if group == 1 and steps > 1:
            T.evaluate(turn_give(MINE, 2 * GROUP_THREADS))
    take_first(
        near, scores, weights, factor, position, largest, total, turn, whole, thread,
        group, plan,
    )  # fmt: skip
    # Two loops: products are not in the background where a branch that may differ lies between.
    for i in T.serial(T.max(whole, 1) - 1):
        take_step(
            near, scores, weights, factor, output, position, largest, total, turn + i + 1,
            i + 1, steps, thread, group, False, plan,
        )  # fmt: skip
    for i in T.serial(steps - T.max(whole, 1)):
        take_step(
            near, scores, weights, factor, output, position, largest, total,
            turn + i + T.max(whole, 1), i + T.max(whole, 1), steps, thread, group, True, plan,
        )  # fmt: skip
    last = T.meta_var(turn + steps - 1)
    wait_copied(near, VALUES_THERE, last, plan)
    T.evaluate(products_fence())
    begin_sums(near, weights, output, last, plan)
    T.evaluate(products_wait(0))
    T.evaluate(numbers_settle(T.address_of(output[0]), plan.outputs))
    give_read(near, VALUES_READ, last, thread, plan)


@T.inline
def multiply_and_store(  # noqa: D103
    q, positions, out, near, turn, steps, reach, thread, group, first, extent, kv_head, plan
):
    position = T.alloc_buffer((2,), "int32", scope="local")
    output = T.alloc_buffer((plan.outputs,), "float32", scope="local")
    largest = T.alloc_buffer((2,), "float32", scope="local")
    total = T.alloc_buffer((2,), "float32", scope="local")
    for i in T.unroll(plan.outputs):
        output[i] = T.float32(0)
    for i in T.unroll(2):
        largest[i] = T.float32(MASKED)
        total[i] = T.float32(0)
    find_positions(positions, position, thread, first, extent, plan)
    if steps > 0:
        copy_queries(q, near, thread, first, extent, kv_head, plan)
        multiply_all(
            near, output, position, largest, total, turn, steps,
            T.truncdiv(reach[1] + 1, plan.tokens), thread, group, plan,
        )  # fmt: skip
    store(out, output, position, total, thread, first, extent, kv_head, plan)


@T.inline
def copy_tasks(  # noqa: D103
    keys, values, tables, positions, near, workgroup, processors, thread, extent, page_size, plan
):
    reach = T.alloc_buffer((2,), "int32", scope="local")
    turn = T.alloc_buffer((1,), "int32", scope="local")
    T.evaluate(registers_release(plan.copy_registers))
    turn[0] = 0
    for i in T.serial(plan.rounds(extent, processors)):
        task = T.meta_var(plan.task(extent, processors, workgroup, i))
        if task < plan.tasks(extent):
            find_reach(positions, reach, thread, plan.first_row(extent, task), extent, plan)
            steps = T.meta_var(T.truncdiv(reach[0] + plan.tokens - 1, plan.tokens))
            if reach[0] > 0:
                copy_all(
                    keys, values, near, tables, turn[0], reach[0], steps, plan.kv_head(task),
                    thread, page_size, plan,
                )  # fmt: skip
            turn[0] = turn[0] + steps


@T.inline
def multiply_tasks(  # noqa: D103
    q, positions, out, near, workgroup, processors, thread, group, extent, plan
):
    reach = T.alloc_buffer((2,), "int32", scope="local")
    turn = T.alloc_buffer((1,), "int32", scope="local")
    T.evaluate(registers_claim(plan.group_registers))
    turn[0] = 0
    for i in T.serial(plan.rounds(extent, processors)):
        task = T.meta_var(plan.task(extent, processors, workgroup, i))
        if task < plan.tasks(extent):
            first = T.meta_var(plan.first_row(extent, task))
            find_reach(positions, reach, thread, first, extent, plan)
            steps = T.meta_var(T.truncdiv(reach[0] + plan.tokens - 1, plan.tokens))
            multiply_and_store(
                q, positions, out, near, turn[0], steps, reach, thread, group, first, extent,
                plan.kv_head(task), plan,
            )  # fmt: skip
            turn[0] = turn[0] + steps


def warpgroup_prefill_attention(rows: Rows, plan: WarpgroupPlan) -> Any:
    """Return the PrimFunc (q, keys, values, block_tables, positions, out), all rows one sequence.

    The rows are consecutive positions, then padding; a row of padding gives zeros.
    """
    extent, shape = row_count(rows), plan.shape
    head_dim, heads, kv_heads = shape.head_dim, shape.num_heads, shape.num_kv_heads
    width = padded(heads * head_dim)

    @T.prim_func(s_tir=True, private=True)
    def func(
        pq: T.handle, pkeys: T.handle, pvalues: T.handle, ptables: T.handle,
        ppositions: T.handle, pout: T.handle,
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
        out = T.match_buffer(pout, (extent, width), "float32")
        processors = T.meta_var(T.bind(T.call_packed(PROCESSORS)))
        for workgroup in T.thread_binding(
            T.min(plan.tasks(extent), processors), thread="blockIdx.x"
        ):
            for thread in T.thread_binding(plan.threads, thread="threadIdx.x"):
                near = T.alloc_buffer((plan.near_words,), "uint32", scope="shared.dyn")
                group = T.alloc_buffer((1,), "int32", scope="local")
                begin_signals(near, thread, plan)
                # All lanes know that all of them have the same.
                group[0] = subgroup_broadcast(T.truncdiv(thread, GROUP_THREADS), 0)
                if group[0] == 0:
                    copy_tasks(
                        keys, values, tables, positions, near, workgroup, processors, thread,
                        extent, page_size, plan,
                    )  # fmt: skip
                else:
                    multiply_tasks(
                        q, positions, out, near, workgroup, processors, thread, group[0] - 1,
                        extent, plan,
                    )  # fmt: skip

    return resident(func, 1)
