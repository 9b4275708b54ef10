"""Operations of attention on matrix units, on CUDA alone; see operations.py."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

Expression = Any


def multiply_halves(a: Expression, b: Expression, c: Expression) -> Expression:
    """Return a * b + c on fragments of float16 of 16 x 16, 16 x 8 and of float32 of 16 x 8.

    PTX ISA, mma.m16n8k16; a uint32x4, b uint32x2, c float32x4.
    """
    return T.call_pure_extern("float32x4", "ferrylm.mma_m16n8k16_f16", a, b, c)


def load_fragments(row: Expression) -> Expression:
    """Return four 8 x 8 matrices, of which a lane names one row in shared memory; uint32x4."""
    return T.call_extern("uint32x4", "ferrylm.load_matrix_x4", row)


def load_fragments_transposed(row: Expression) -> Expression:
    """Return four 8 x 8 matrices with rows and columns exchanged; uint32x4."""
    return T.call_extern("uint32x4", "ferrylm.load_matrix_x4_transposed", row)


def exp2_approximate(x: Expression) -> Expression:
    """Return 2 to the power of x within 2^-22 of it, zero where that is no normal float32."""
    return T.call_pure_extern("float32", "ferrylm.exp2_approximate", x)


def copy_async(to: Expression, source: Expression) -> Expression:
    """Begin to copy 16 bytes to shared memory."""
    return T.call_extern("int32", "ferrylm.copy_async_u32x4", to, source)


def copy_async_commit() -> Expression:
    """Make one group of the copies begun so far."""
    return T.call_extern("int32", "ferrylm.copy_async_commit")


def copy_async_wait(newest: int) -> Expression:
    """Wait until at most the `newest` groups of copies are under way."""
    return T.call_extern("int32", "ferrylm.copy_async_wait", newest)
