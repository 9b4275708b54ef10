"""Atomic additions to global and shared memory."""

from __future__ import annotations

from collections.abc import Mapping

from ferrylm.compile.spirv import array_memory, global_memory
from ferrylm.compile.spirv.arithmetic import binary
from ferrylm.compile.spirv.barriers import device_semantics
from ferrylm.compile.spirv.call import Call
from ferrylm.compile.spirv.enumerants import (
    Capability,
    LoopControl,
    MemoryAccess,
    Op,
    Scope,
    Semantics,
    StorageClass,
)
from ferrylm.compile.spirv.pointers import place_of
from ferrylm.compile.spirv.storage import BufferView, GlobalMemory, Place, WordMemory
from ferrylm.compile.spirv.values import BOOL, FLOAT32, UINT32, Scalar, Value
from ferrylm.compile.spirv.writer import Handler, Writer

_INTEGERS = (Scalar("int", 32), UINT32)


def _add(writer: Writer, call: Call) -> Value:
    """Handle atomic_add (pointer, value), which returns what was there before."""
    view, place = place_of(writer, call.arguments[0])
    value = writer.evaluate(call.arguments[1])
    if view.scalar != value.scalar or view.lanes * value.lanes != 1:
        writer.refuse(f"an atomic addition of {value.scalar.name} to {view.scalar.name}")
    if view.scalar in _INTEGERS:
        return _add_integer(writer, view, place, value)
    if view.scalar == FLOAT32:
        return _add_float(writer, view, place, value)
    writer.refuse(f"an atomic addition of {value.scalar.name}", "int32, uint32 or float32")


def _pointer(writer: Writer, view: BufferView, place: Place, scalar: Scalar) -> tuple[int, Scope]:
    if isinstance(view.storage, WordMemory):
        writer.refuse("an atomic operation on memory of several types", "one type")
    if isinstance(view.storage, GlobalMemory):
        kind = writer.id_type(scalar)
        if writer.vulkan_memory_model:
            writer.module.require(Capability.VULKAN_MEMORY_MODEL_DEVICE_SCOPE)
        return global_memory.element_pointer(writer, view, place, kind), Scope.DEVICE
    if view.storage.storage != StorageClass.WORKGROUP:
        writer.refuse("an atomic operation on local memory", "global or shared memory")
    return array_memory.element_pointer(writer, view.storage, place, 0), Scope.WORKGROUP


def _add_integer(writer: Writer, view: BufferView, place: Place, value: Value) -> Value:
    pointer, scope = _pointer(writer, view, place, UINT32)
    order = writer.index(scope), writer.index(Semantics.RELAXED)
    kind, added = writer.id_type(UINT32), value.parts[0]
    found = writer.body.value(Op.ATOMIC_I_ADD, kind, pointer, *order, added)
    return Value(view.scalar, 1, (found,))


def _add_float(writer: Writer, view: BufferView, place: Place, value: Value) -> Value:
    """Add by comparing and exchanging, which every device can."""
    if not isinstance(view.storage, GlobalMemory):
        writer.refuse("an atomic addition of float32 to shared memory", "global memory")
    pointer, scope = _pointer(writer, view, place, UINT32)
    body, new_id, kind = writer.body, writer.module.new_id, writer.id_type(UINT32)
    order = writer.index(scope), writer.index(Semantics.RELAXED)
    first = body.value(Op.LOAD, kind, pointer, MemoryAccess.ALIGNED, 4)
    head, continues, merge, expected, found = (new_id() for _ in range(5))
    before = body.block
    body.branch(head)
    body.begin(head)
    with body.scope():
        body.phi(kind, expected, first, before, found, continues)
        old = writer.map(Op.BITCAST, FLOAT32, Value(UINT32, 1, (expected,)))
        new = writer.map(Op.BITCAST, UINT32, binary(writer, "add", old, value))
        operands = (pointer, order[0], order[1], order[1], new.parts[0], expected)
        body.value_with_id(Op.ATOMIC_COMPARE_EXCHANGE, kind, found, *operands)
        pair = Value(UINT32, 1, (found,)), Value(UINT32, 1, (expected,))
        done = writer.map(Op.I_EQUAL, BOOL, *pair)
        body.loop_merge(merge, continues, LoopControl.NONE)
        body.conditional(done.parts[0], merge, continues)
        body.begin(continues)
        body.branch(head)
    body.begin(merge)
    return writer.map(Op.BITCAST, FLOAT32, Value(UINT32, 1, (found,)))


def _count(writer: Writer, call: Call) -> Value:
    """Handle device_count (pointer, int32): an addition that releases and acquires."""
    view, place = place_of(writer, call.arguments[0])
    value = writer.evaluate(call.arguments[1])
    if view.scalar != value.scalar or view.scalar not in _INTEGERS or view.lanes != 1:
        writer.refuse(f"a count of {value.scalar.name} in {view.scalar.name}", "int32")
    pointer, scope = _pointer(writer, view, place, UINT32)
    order = writer.index(scope), writer.index(device_semantics())
    kind = writer.id_type(UINT32)
    found = writer.body.value(Op.ATOMIC_I_ADD, kind, pointer, *order, value.parts[0])
    return Value(view.scalar, 1, (found,))


OPERATIONS: Mapping[str, Handler] = {
    "tirx.atomic_add": _add,
    "tirx.cuda.atomic_add": _add,
    "ferrylm.atomic_add": _add,
    "ferrylm.device_count": _count,
}
