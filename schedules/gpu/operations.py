"""Operations that TensorIR has no word for, as expressions; each code generator has its body.

They are pure calls by name (`ferrylm.subgroup_add`); compile/spirv, compile/cuda and compile/rocm
say what each becomes. Lanes of a subgroup are consecutive threads of a workgroup.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

Expression = Any


def subgroup_add(value: Expression) -> Expression:
    """Return the sum over the subgroup, in every lane."""
    return T.call_pure_extern(str(value.ty), "ferrylm.subgroup_add", value)


def subgroup_max(value: Expression) -> Expression:
    """Return the maximum over the subgroup, in every lane."""
    return T.call_pure_extern(str(value.ty), "ferrylm.subgroup_max", value)


def clustered_add(value: Expression, width: int) -> Expression:
    """Return the sum over the `width` adjacent lanes that this one belongs to."""
    return T.call_pure_extern(str(value.ty), "ferrylm.subgroup_add_clustered", value, width)


def clustered_max(value: Expression, width: int) -> Expression:
    """Return the maximum over the `width` adjacent lanes that this one belongs to."""
    return T.call_pure_extern(str(value.ty), "ferrylm.subgroup_max_clustered", value, width)


def subgroup_broadcast(value: Expression, lane: int) -> Expression:
    """Return the value of one lane, in every lane."""
    return T.call_pure_extern(str(value.ty), "ferrylm.subgroup_broadcast", value, lane)


def subgroup_shuffle_xor(value: Expression, mask: int) -> Expression:
    """Return the value of the lane whose number differs in the bits of `mask`."""
    return T.call_pure_extern(str(value.ty), "ferrylm.subgroup_shuffle_xor", value, mask)


def matrix_multiply(a: Expression, b: Expression, c: Expression) -> Expression:
    """Return a * b + c on fragments of signed bytes of 16 x 32, 32 x 8 and 16 x 8: int32x4.

    PTX ISA, mma.m16n8k32; a uint32x4, b uint32x2, c int32x4.
    """
    return T.call_pure_extern("int32x4", "ferrylm.mma_m16n8k32_s8", a, b, c)


def dot4(a: Expression, b: Expression, total: Expression) -> Expression:
    """Return total + the sum of four products of the signed bytes of the words a and b; int32."""
    return T.call_pure_extern("int32", "ferrylm.dot4_i8", a, b, total)


def fma(a: Expression, b: Expression, c: Expression) -> Expression:
    """Return a * b + c, rounded once; float32."""
    return T.call_pure_extern("float32", "ferrylm.fma", a, b, c)


def launch_dependents() -> Expression:
    """Let the next kernel start once every workgroup of this one has; CUDA alone."""
    return T.call_extern("void", "ferrylm.launch_dependents")


def grid_dependency_wait() -> Expression:
    """Wait for all memory of the kernels before; CUDA alone."""
    return T.call_extern("void", "ferrylm.grid_dependency_wait")
