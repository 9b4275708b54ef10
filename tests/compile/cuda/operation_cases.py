# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""A kernel for each operation of ours, with what it must answer and the instruction it must be.

The test of the machine code and scripts/check_cuda.py share this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

THREADS, LANES = 64, 32
Array = np.ndarray


@dataclass(frozen=True)
class OperationCase:
    """One call in a kernel of 64 threads: three inputs and an output, so many elements a thread."""

    name: str
    inputs: tuple[tuple[str, int], ...]  # dtype and elements a thread of a, b, c
    output: tuple[str, int]
    expression: Callable[..., Any]  # of a, b, c
    reference: Callable[..., Array]  # of arrays [threads, elements]
    instruction: str = ""  # of sm_90a, or several with | between; empty: any
    operation: str = ""  # without prefix; empty: the name
    tolerance: float = 0.0

    def kernel(self) -> Any:
        """Return the PrimFunc (a, b, c, output)."""
        (a_type, a_lanes), (b_type, b_lanes), (c_type, c_lanes) = (
            ("uint32" if dtype == "halves" else dtype, lanes) for dtype, lanes in self.padded()
        )
        o_type, o_lanes = self.output
        expression = self.expression

        @T.prim_func(s_tir=True)
        def func(pa: T.handle, pb: T.handle, pc: T.handle, po: T.handle):
            T.func_attr({"tirx.noalias": True})
            a = T.match_buffer(pa, (THREADS * a_lanes,), a_type)
            b = T.match_buffer(pb, (THREADS * b_lanes,), b_type)
            c = T.match_buffer(pc, (THREADS * c_lanes,), c_type)
            out = T.match_buffer(po, (THREADS * o_lanes,), o_type)
            for _block in T.thread_binding(1, thread="blockIdx.x"):
                for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                    out[place(thread, o_lanes)] = expression(
                        a[place(thread, a_lanes)],
                        b[place(thread, b_lanes)],
                        c[place(thread, c_lanes)],
                    )

        return func.with_attr("global_symbol", self.symbol)

    @property
    def symbol(self) -> str:
        """Return the function's name."""
        return "check_" + self.name

    def padded(self) -> tuple[tuple[str, int], ...]:
        """Return three inputs, those that the call does not take of one word."""
        return (*self.inputs, *(("uint32", 1),) * (3 - len(self.inputs)))

    def arrays(self) -> list[Array]:
        """Return the inputs, [threads, elements]."""
        generator = np.random.default_rng(sum(map(ord, self.name)))
        return [_random(generator, dtype, lanes) for dtype, lanes in self.padded()]


def place(thread: Any, lanes: int) -> Any:
    """Return the index of a thread's elements."""
    return thread if lanes == 1 else T.ramp(thread * lanes, 1, lanes)


def call(name: str, dtype: str, *arguments: Any) -> Any:
    """Return a call of an operation."""
    return T.call_pure_extern(dtype, "ferrylm." + name, *arguments)


def _random(generator: np.random.Generator, dtype: str, lanes: int) -> Array:
    if dtype == "halves":  # words of two float16 of moderate size
        halves = generator.uniform(-4, 4, (THREADS, 2 * lanes)).astype(np.float16)
        return halves.view(np.uint32)
    if dtype.startswith("float"):
        return generator.uniform(-4, 4, (THREADS, lanes)).astype(dtype)
    bits = generator.integers(0, 1 << 32, (THREADS, lanes), dtype=np.uint64)
    return bits.astype(np.uint32).view(dtype)
