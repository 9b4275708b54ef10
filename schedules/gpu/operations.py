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


def matrix_multiply_halves(a: Expression, b: Expression, c: Expression) -> Expression:
    """Return a * b + c on fragments of float16 of 16 x 16, 16 x 8 and float32 of 16 x 8: float32x4.

    PTX ISA, mma.m16n8k16; a uint32x4, b uint32x2, c float32x4.
    """
    return T.call_pure_extern("float32x4", "ferrylm.mma_m16n8k16_f16", a, b, c)


def dot4(a: Expression, b: Expression, total: Expression) -> Expression:
    """Return total + the sum of four products of the signed bytes of the words a and b; int32."""
    return T.call_pure_extern("int32", "ferrylm.dot4_i8", a, b, total)


def fma(a: Expression, b: Expression, c: Expression) -> Expression:
    """Return a * b + c, rounded once; float32."""
    return T.call_pure_extern("float32", "ferrylm.fma", a, b, c)


def half2_pack(low: Expression, high: Expression) -> Expression:
    """Return two float32 rounded to float16, as a word: uint32."""
    return T.call_pure_extern("uint32", "ferrylm.half2_pack", low, high)


def half2_broadcast(value: Expression) -> Expression:
    """Return a float16 twice, as a word: uint32."""
    return T.call_pure_extern("uint32", "ferrylm.half2_broadcast", value)


def half2_fma(a: Expression, b: Expression, c: Expression) -> Expression:
    """Return a * b + c in both halves of words, rounded once."""
    return T.call_pure_extern("uint32", "ferrylm.half2_fma", a, b, c)


def half2_mul(a: Expression, b: Expression) -> Expression:
    """Return a * b in both halves of words."""
    return T.call_pure_extern("uint32", "ferrylm.half2_mul", a, b)


def half2_sub(a: Expression, b: Expression) -> Expression:
    """Return a - b in both halves of words."""
    return T.call_pure_extern("uint32", "ferrylm.half2_sub", a, b)


def lop3(a: Expression, b: Expression, c: Expression, table: int) -> Expression:
    """Return a bitwise function of three words, PTX's lop3; CUDA alone."""
    return T.call_pure_extern("uint32", "ferrylm.lop3", a, b, c, table)


def copy_async(to: Expression, source: Expression) -> Expression:
    """Begin to copy 16 bytes to shared memory; CUDA alone."""
    return T.call_extern("void", "ferrylm.copy_async_u32x4", to, source)


def copy_async_wait(groups: int) -> Expression:
    """Wait for this thread's copies but the newest groups of them; CUDA alone."""
    return T.call_extern("void", "ferrylm.copy_async_wait", groups)


def ring_begin(barriers: Expression, stages: int) -> Expression:
    """Make the barriers of a ring of tiles ready: compile/cuda/operations_tiles.py; CUDA alone."""
    return T.call_extern("void", "ferrylm.ring_begin", barriers, stages)


def ring_load(
    barriers: Expression, ring: Expression, source: Expression, available: Expression,
    iteration: Expression, wanted: Expression, stages: int, tiles: int,
) -> Expression:  # fmt: skip
    """Begin to fill the stage of an iteration of a ring."""
    return T.call_extern(
        "void", "ferrylm.ring_load", barriers, ring, source, available, iteration, wanted,
        stages, tiles,
    )  # fmt: skip


def ring_wait(barriers: Expression, iteration: Expression, stages: int) -> Expression:
    """Wait until the stage of an iteration is filled; copy_async_wait comes before."""
    return T.call_extern("void", "ferrylm.ring_wait", barriers, iteration, stages)


def ring_release(barriers: Expression, iteration: Expression, stages: int) -> Expression:
    """Say that this warp needs the stage of an iteration no more."""
    return T.call_extern("void", "ferrylm.ring_release", barriers, iteration, stages)


def multiply_tiles(
    sums: Expression, fragments: Expression, at: Expression, tiles: int
) -> Expression:
    """Begin to add the products of 16 rows of weights and tiles of a ring over two steps."""
    return T.call_extern("void", "ferrylm.multiply_tiles", sums, fragments, at, tiles)


def multiply_wait() -> Expression:
    """Wait until only the newest multiply_tiles is under way; the others' fragments are free."""
    return T.call_extern("void", "ferrylm.multiply_wait")


def multiply_end(sums: Expression, tiles: int) -> Expression:
    """Wait for the sums of multiply_tiles."""
    return T.call_extern("void", "ferrylm.multiply_end", sums, tiles)


def launch_dependents() -> Expression:
    """Let the next kernel start once every workgroup of this one has; CUDA alone."""
    return T.call_extern("void", "ferrylm.launch_dependents")


def grid_dependency_wait() -> Expression:
    """Wait for all memory of the kernels before; CUDA alone."""
    return T.call_extern("void", "ferrylm.grid_dependency_wait")


def device_release() -> Expression:
    """Let all the device see what this thread wrote; a barrier and device_count come next."""
    return T.call_extern("int32", "ferrylm.device_release")


def device_acquire() -> Expression:
    """See what other workgroups released; device_count and a barrier came before."""
    return T.call_extern("int32", "ferrylm.device_acquire")


def device_count(counter: Expression, value: Expression) -> Expression:
    """Add to an int32 in global memory for the whole workgroup; return what was there before."""
    return T.call_extern("int32", "ferrylm.device_count", counter, value)
