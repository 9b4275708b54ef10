"""Our operations by name: which LLVM function stands behind a call of a kernel.

`lower_operations` renames a call to `ferrylm.OPERATION.TYPE.CONSTANT...`, so that one name is one
function; this file turns such a name back into the function's text for an architecture.
"""

from __future__ import annotations

import re

from ferrylm.compile.rocm import atomic_functions, lane_functions, matrix_units, number_functions
from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.llvm_types import ValueType
from ferrylm.errors import CompileError

PREFIX = "ferrylm."
TYPED = (
    *("subgroup_add", "subgroup_max", "subgroup_shuffle", "subgroup_broadcast", "fma"),
    *("subgroup_add_clustered", "subgroup_max_clustered", "subgroup_shuffle_xor"),
    *number_functions.MATHEMATICS,
)
UNTYPED = (
    *("subgroup_lane", "subgroup_id", "subgroup_barrier", "workgroup_barrier"),
    *("dot4_i8", "dot4_u8_i8", "unpack_half2"),
    *("device_release", "device_acquire", "device_count"),
    "atomic_add",
    *("coopmat_fill", "coopmat_load", "coopmat_load_rows", "coopmat_load_sums"),
    *("coopmat_mul_add", "coopmat_scale", "coopmat_store"),
)
_NAME = re.compile(r"ferrylm\.([a-z0-9_]+)(?:\.((?:float|int|uint)\d+(?:x\d+)?))?((?:\.\d+)*)")


def function_text(name: str, arch: Architecture) -> str:
    """Return the definition of `name`. Raises CompileError for one that is not ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise unknown_function(name)
    operation, dtype = found[1], found[2]
    constants = [int(part) for part in found[3].split(".") if part]
    if operation in UNTYPED:
        return _untyped(name, operation, constants, arch)
    value = ValueType.parse(dtype) if dtype is not None else None
    if operation not in TYPED or value is None:
        raise unknown_function(name)
    return _typed(name, operation, value, constants, arch)


def _untyped(name: str, operation: str, constants: list[int], arch: Architecture) -> str:
    if operation == "subgroup_lane":
        return lane_functions.lane(arch, name)
    if operation == "subgroup_id":
        return lane_functions.subgroup_id(arch, name, (constants[0], constants[1], constants[2]))
    if operation == "subgroup_barrier":
        return lane_functions.barrier(name, "wavefront")
    if operation == "workgroup_barrier":
        return lane_functions.barrier(name, "workgroup")
    if operation == "device_count":
        return lane_functions.device_count(name)
    if operation in ("device_release", "device_acquire"):
        return lane_functions.device_fence(name, operation.removeprefix("device_"))
    if operation == "atomic_add":
        return atomic_functions.add_to_shared(name)
    if operation == "unpack_half2":
        return number_functions.unpack_half2(name)
    if operation.startswith("coopmat_"):
        return matrix_units.function(arch, name, operation, constants)
    return number_functions.dot4(arch, name, first_is_signed=operation == "dot4_i8")


def _typed(
    name: str, operation: str, value: ValueType, constants: list[int], arch: Architecture
) -> str:
    if operation in number_functions.MATHEMATICS:
        return number_functions.mathematics(name, operation, value.lanes, value.bits)
    if operation == "fma":
        return number_functions.fma(name, value.llvm, value.suffix)
    if operation == "subgroup_shuffle":
        return lane_functions.shuffle(name, value)
    if operation == "subgroup_broadcast":
        return lane_functions.broadcast(name, value)
    if operation == "subgroup_shuffle_xor":
        return lane_functions.shuffle_xor(arch, name, value, constants[0] if constants else None)
    width = constants[0] if constants else arch.wave
    combine = "add" if operation.startswith("subgroup_add") else "max"
    return lane_functions.reduction(arch, name, value, combine, width)


def unknown_function(name: str) -> CompileError:
    """Return the error for a call that no AMD GPU can answer."""
    return CompileError(
        f"a kernel calls {name}",
        wanted="arithmetic that has a body for AMD GPUs",
        fix="write the kernel without it, or add it to compile/rocm/device_functions.py",
    )
