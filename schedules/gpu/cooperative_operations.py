"""Cooperative matrices in a kernel: calls that compile/spirv/cooperative_matrix.py describes.

A tile is an element of a local buffer, shared memory is a buffer of uint32x4. A shape is M, N, K:
left factors are M x K halves, right ones K x N halves, sums M x N float32.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

Expression = Any
Shape = tuple[int, int, int]
_LEFT, _RIGHT, _SUMS = range(3)
_ROWS, _COLUMNS = range(2)  # what is contiguous


def clear(tile: Expression, shape: Shape) -> Expression:
    """Make a tile of sums zero."""
    m, n, _ = shape
    return T.call_extern(
        "int32", "ferrylm.coopmat_fill", T.address_of(tile), _SUMS, "float32", m, n, T.float32(0)
    )


def load_left(tile: Expression, at: Expression, stride: int, shape: Shape) -> Expression:
    """Load M rows of K halves from shared memory; rows lie `stride` vectors apart."""
    m, _, k = shape
    return T.call_extern(
        "int32", "ferrylm.coopmat_load", T.address_of(tile), _LEFT, "float16", m, k,
        T.address_of(at), stride, _ROWS,
    )  # fmt: skip


def load_right(tile: Expression, at: Expression, stride: int, shape: Shape) -> Expression:
    """Load N columns of K halves from shared memory; columns lie `stride` vectors apart."""
    _, n, k = shape
    return T.call_extern(
        "int32", "ferrylm.coopmat_load", T.address_of(tile), _RIGHT, "float16", k, n,
        T.address_of(at), stride, _COLUMNS,
    )  # fmt: skip


def load_right_rows(tile: Expression, at: Expression, stride: int, shape: Shape) -> Expression:
    """Load K rows of N halves from shared memory; rows lie `stride` vectors apart."""
    _, n, k = shape
    return T.call_extern(
        "int32", "ferrylm.coopmat_load", T.address_of(tile), _RIGHT, "float16", k, n,
        T.address_of(at), stride, _ROWS,
    )  # fmt: skip


def load_sums(tile: Expression, at: Expression, stride: int, shape: Shape) -> Expression:
    """Load M rows of N float32 from shared memory; rows lie `stride` vectors apart."""
    m, n, _ = shape
    return T.call_extern(
        "int32", "ferrylm.coopmat_load", T.address_of(tile), _SUMS, "float32", m, n,
        T.address_of(at), stride, _ROWS,
    )  # fmt: skip


def multiply_add(sums: Expression, left: Expression, right: Expression) -> Expression:
    """Add the product of two tiles to a tile of sums."""
    return T.call_extern(
        "int32", "ferrylm.coopmat_mul_add", T.address_of(sums), T.address_of(left),
        T.address_of(right), T.address_of(sums),
    )  # fmt: skip


def scale(sums: Expression, factors: Expression) -> Expression:
    """Multiply each number of a tile of sums by that of another in the same place."""
    return T.call_extern(
        "int32", "ferrylm.coopmat_scale", T.address_of(sums), T.address_of(factors)
    )


def store_sums(tile: Expression, at: Expression, stride: int) -> Expression:
    """Store M rows of N float32 to shared memory; rows lie `stride` vectors apart."""
    return T.call_extern(
        "int32", "ferrylm.coopmat_store", T.address_of(tile), T.address_of(at), stride, _ROWS
    )


def subgroup_barrier() -> Expression:
    """Let the subgroup see what its lanes wrote to shared memory."""
    return T.call_extern("int32", "ferrylm.subgroup_barrier")


def subgroup_id() -> Expression:
    """Return the number of the subgroup in its workgroup, which a compiler sees to be one."""
    return T.call_pure_extern("int32", "ferrylm.subgroup_id")
