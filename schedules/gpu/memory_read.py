# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""A kernel that reads memory and does little else: the measure of a GPU's bandwidth.

computes  sums[g, t] = the sum of all words of memory[:, g, :, t, :], modulo 2^32
shapes    memory uint32 as runtime/memory_read.py says; sums uint32 (workgroups, T)
mapping   workgroup  in each turn LOADS * T * 16 bytes in a row, its neighbour the next ones
          lane       LOADS loads of 16 bytes a turn, all under way at once
traffic   memory and sums once
"""

from __future__ import annotations

from typing import Any

from tvm import te
from tvm.script import tirx as T

from ferrylm.runtime.memory_read import FUNCTION, LOAD_WORDS, LOADS, THREADS, memory_shape


def memory_read() -> Any:
    """Return the PrimFunc (memory, sums), named as the runtime looks for it."""
    turns, workgroups = te.var("turns", "int32"), te.var("workgroups", "int32")

    @T.prim_func(s_tir=True)
    def func(pmemory: T.handle, psums: T.handle):
        T.func_attr({"tirx.noalias": True, "global_symbol": FUNCTION})
        memory = T.match_buffer(pmemory, memory_shape(turns, workgroups), "uint32")
        sums = T.match_buffer(psums, (workgroups, THREADS), "uint32")
        for workgroup in T.thread_binding(workgroups, thread="blockIdx.x"):
            for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                total = T.alloc_buffer((1,), "uint32", scope="local")
                words = T.alloc_buffer((LOADS * LOAD_WORDS,), "uint32", scope="local")
                total[0] = T.uint32(0)
                for turn in T.serial(turns):
                    for i in T.unroll(LOADS):
                        for j in T.vectorized(LOAD_WORDS):
                            words[i * LOAD_WORDS + j] = memory[turn, workgroup, i, thread, j]
                    for i in T.unroll(LOADS * LOAD_WORDS):
                        total[0] = total[0] + words[i]
                sums[workgroup, thread] = total[0]

    return func
