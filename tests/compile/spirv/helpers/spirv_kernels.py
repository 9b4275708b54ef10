"""Kernels around one operation: every thread takes `lanes` consecutive elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import s_tir, te
from tvm.script import tirx as T

THREADS = 8


def elementwise(
    build: Callable[..., Any], dtypes: Sequence[str], result: str, count: int, lanes: int
) -> Any:
    """Return a function (inputs..., output) of arrays of `count` elements."""
    inputs = [te.placeholder((count,), dtype, f"input{i}") for i, dtype in enumerate(dtypes)]
    out = te.compute(
        (count,), lambda i: T.Cast(result, build(*(each(i) for each in inputs))), "out"
    )
    return _spread(te.create_prim_func([*inputs, out]), lanes)


def _spread(function: Any, lanes: int) -> Any:
    """Bind the only loop to threads, `lanes` iterations as one vector."""
    schedule = s_tir.Schedule(function)
    (loop,) = schedule.get_loops(schedule.get_sblock("out"))
    block, thread, lane = schedule.split(loop, [None, THREADS, lanes])
    schedule.bind(block, "blockIdx.x")
    schedule.bind(thread, "threadIdx.x")
    if lanes > 1:
        schedule.vectorize(lane)
    return schedule.mod["main"].with_attr("tirx.noalias", True)
