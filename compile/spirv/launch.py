"""Threads, workgroups and arguments: what a kernel is called with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import ir, tirx

from ferrylm.compile.spirv.arithmetic import compare
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import (
    BuiltIn,
    Capability,
    MemoryAccess,
    Op,
    StorageClass,
)
from ferrylm.compile.spirv.packing import from_words
from ferrylm.compile.spirv.storage import GlobalMemory
from ferrylm.compile.spirv.values import (
    BOOL,
    FLOAT16,
    HANDLE,
    INT32,
    UINT32,
    UINT64,
    Scalar,
    Value,
)
from ferrylm.compile.spirv.writer import Writer

PUSHED_ARGUMENTS = 16  # of 8 bytes: the 128 bytes that every device has
_INPUTS = {"blockIdx": BuiltIn.WORKGROUP_ID, "threadIdx": BuiltIn.LOCAL_INVOCATION_ID}


def bind_thread(writer: Writer, axis: Any, extent: Any) -> None:
    """Give a thread axis its index."""
    tag, variable = str(axis.thread_tag), axis.var
    name, _, dimension = tag.partition(".")
    if name not in _INPUTS or dimension not in ("x", "y", "z"):
        writer.refuse(f"the thread axis {tag}", "blockIdx and threadIdx in x, y, z")
    position = "xyz".index(dimension)
    if name == "threadIdx":
        writer.local_size[position] = _constant_extent(writer, tag, extent)
    triple = writer.id_type(UINT32, 3)
    source = writer.module.builtin(_INPUTS[name], triple)
    found = writer.body.entry_value(Op.LOAD, triple, source)
    index = writer.body.entry_value(Op.COMPOSITE_EXTRACT, writer.id_type(UINT32), found, position)
    writer.values[variable] = cast(writer, Value(INT32, 1, (index,)), writer.type_of(variable)[0])
    writer.analyzer.bind(variable, ir.Range(0, extent), True)


def _constant_extent(writer: Writer, tag: str, extent: Any) -> int:
    if not isinstance(extent, tirx.IntImm):
        writer.refuse(f"the axis {tag} with the extent {extent}", "workgroups of a constant size")
    return int(extent)


def bind_arguments(writer: Writer, parameters: Sequence[Any]) -> None:
    """Load every argument: 8 bytes each, from push constants or from the argument buffer."""
    pushed = len(parameters) <= PUSHED_ARGUMENTS
    scalars = [writer.type_of(parameter)[0] for parameter in parameters]
    raw = _pushed(writer, scalars) if pushed else _buffered(writer, scalars)
    for parameter, scalar, found in zip(parameters, scalars, raw, strict=True):
        value = _argument(writer, scalar, found)
        if scalar == HANDLE:
            writer.storages[parameter] = GlobalMemory(value.parts[0])
            writer.parameters.add(parameter)
        writer.values[parameter] = value


def _slot(scalar: Scalar) -> Scalar:
    """Return the type by which an argument is read: its low 4 bytes, or all 8."""
    return UINT64 if scalar.bits == 64 else UINT32


def _pushed(writer: Writer, scalars: Sequence[Scalar]) -> list[int]:
    module, body = writer.module, writer.body
    if not scalars:
        return []
    members = [writer.id_type(_slot(scalar)) for scalar in scalars]
    offsets = [8 * position for position in range(len(scalars))]
    block = module.block(members, offsets, read_only=False)
    variable = module.variable(StorageClass.PUSH_CONSTANT, block)
    found = []
    for position, member in enumerate(members):
        kind = module.pointer(StorageClass.PUSH_CONSTANT, member)
        pointer = body.pure(Op.ACCESS_CHAIN, kind, variable, writer.index(position))
        found.append(body.pure(Op.LOAD, member, pointer))
    return found


def _buffered(writer: Writer, scalars: Sequence[Scalar]) -> list[int]:
    module, body = writer.module, writer.body
    (address,) = _pushed(writer, [HANDLE])
    members = [writer.id_type(_slot(scalar)) for scalar in scalars]
    offsets = [8 * position for position in range(len(scalars))]
    storage = StorageClass.PHYSICAL_STORAGE_BUFFER
    block = module.block(members, offsets, read_only=True)
    base = body.pure(Op.CONVERT_U_TO_PTR, module.pointer(storage, block), address)
    found = []
    for position, member in enumerate(members):
        kind = module.pointer(storage, member)
        pointer = body.pure(Op.ACCESS_CHAIN, kind, base, writer.index(position))
        found.append(body.pure(Op.LOAD, member, pointer, MemoryAccess.ALIGNED, 8))
    return found


def _argument(writer: Writer, scalar: Scalar, raw: int) -> Value:
    slot = Value(_slot(scalar), 1, (raw,))
    if scalar == BOOL:
        return compare(writer, "ne", slot, writer.constant(UINT32, 0))
    if scalar == FLOAT16:
        return from_words(writer, slot, FLOAT16, 1)
    if scalar.is_float:
        return writer.map(Op.BITCAST, scalar, slot)
    return slot.typed(scalar)  # integers come extended


def subgroup_input(writer: Writer, builtin: BuiltIn) -> Value:
    """Return an input that belongs to the subgroup."""
    writer.module.require(Capability.GROUP_NON_UNIFORM)
    source = writer.module.builtin(builtin, writer.id_type(UINT32))
    return Value(INT32, 1, (writer.body.entry_value(Op.LOAD, writer.id_type(UINT32), source),))
