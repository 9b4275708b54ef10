"""Operations of attention whose warps have different work, on CUDA alone.

compile/cuda/operations_warpgroup.py says what each becomes.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

Expression = Any


def _effect(name: str, *arguments: Any) -> Expression:
    return T.call_extern("void", f"ferrylm.{name}", *arguments)


def matrix_near(at: Expression, leading: int, stride: int, swizzle: int = 0) -> Expression:
    """Return the description of a matrix in shared memory; uint64."""
    return T.call_extern("uint64", "ferrylm.matrix_near", at, leading, stride, swizzle)


def multiply_near(
    sums: Expression, left: Expression, right: Expression, add: int, columns: int
) -> Expression:
    """Begin a product of 64 rows over 16 columns of two matrices in shared memory."""
    return _effect("multiply_near", sums, left, right, add, columns)


def multiply_held(
    sums: Expression, left: Expression, right: Expression, columns: int
) -> Expression:
    """Begin to add a product whose left matrix is in registers."""
    return _effect("multiply_held", sums, left, right, columns)


def products_fence() -> Expression:
    """Say that registers are ready for the products that follow."""
    return _effect("products_fence")


def products_commit() -> Expression:
    """Make one group of the products begun so far."""
    return _effect("products_commit")


def products_wait(newest: int) -> Expression:
    """Wait until at most the `newest` groups are under way."""
    return _effect("products_wait", newest)


def numbers_settle(numbers: Expression, count: int) -> Expression:
    """Let what makes numbers come before other operations here, and what reads them after."""
    return _effect("numbers_settle", numbers, count)


def registers_claim(count: int) -> Expression:
    """Give each thread of this warpgroup `count` registers."""
    return _effect("registers_claim", count)


def registers_release(count: int) -> Expression:
    """Leave each thread of this warpgroup `count` registers."""
    return _effect("registers_release", count)


def turn_wait(number: Expression, threads: int) -> Expression:
    """Wait at a barrier of a number until `threads` came there."""
    return _effect("turn_wait", number, threads)


def turn_give(number: Expression, threads: int) -> Expression:
    """Come to a barrier of a number without a wait."""
    return _effect("turn_give", number, threads)


def signal_begin(signal: Expression, count: int) -> Expression:
    """Make a signal that `count` threads give."""
    return _effect("signal_begin", signal, count)


def signal_publish() -> Expression:
    """Let copies and products see what this thread wrote to shared memory."""
    return _effect("signal_publish")


def signal_give_copied(signal: Expression) -> Expression:
    """Give a signal for this thread once its copies of 16 bytes are done."""
    return _effect("signal_give_copied", signal)


def signal_give_if(signal: Expression, wanted: Expression) -> Expression:
    """Give a signal for this thread, if wanted, without a branch."""
    return _effect("signal_give_if", signal, wanted)


def signal_never(signal: Expression, number: Expression) -> Expression:
    """Keep what makes a number, which is not negative, before a products_wait that follows."""
    return _effect("signal_never", signal, number)


def signal_wait(signal: Expression, parity: Expression) -> Expression:
    """Wait until a signal was given by all in the turn of that parity."""
    return _effect("signal_wait", signal, parity)
