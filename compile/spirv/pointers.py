"""Pointers as values: addresses of elements and offsets to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import ir

from ferrylm.compile.spirv import buffers, global_memory
from ferrylm.compile.spirv.call import Call
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Op
from ferrylm.compile.spirv.storage import BufferView, GlobalMemory, Place
from ferrylm.compile.spirv.values import HANDLE, INT64, UINT64, Value, parse_type
from ferrylm.compile.spirv.writer import Handler, Writer


def place_of(writer: Writer, pointer: Any) -> tuple[BufferView, Place]:
    """Return the buffer element that a pointer expression means."""
    if isinstance(pointer, ir.Call) and pointer.op.name == "tirx.address_of":
        load = pointer.args[0]
        if isinstance(load, ir.TensorLoad) and len(load.indices) == 1:
            view = buffers.view_of(writer, load.source)
            place = buffers.consecutive(writer, view, load.indices[0])
            if place is not None:
                return view, place
    if isinstance(pointer, ir.Call) and pointer.op.name == "tirx.tvm_access_ptr":
        return _accessed(writer, pointer)
    writer.refuse(f"the pointer {pointer}", "the address of a buffer's element")


def _accessed(writer: Writer, pointer: Any) -> tuple[BufferView, Place]:
    kind, data, offset = pointer.args[:3]
    found = parse_type(str(kind.ty))
    if found is None:
        writer.refuse(f"a pointer to {kind.ty}")
    scalar, lanes = found
    view = BufferView(scalar, lanes, buffers.storage_of(writer, data), None, scalar.bytes, False)
    place = buffers.consecutive(writer, view, offset)
    if place is None:
        writer.refuse(f"the pointer {pointer}", "one offset")
    return view, place


def _address(writer: Writer, call: Call) -> Value:
    view, place = place_of(writer, call.node)
    if not isinstance(view.storage, GlobalMemory):
        writer.refuse(f"the address {call.node} of local or shared memory", "global memory")
    return Value(HANDLE, 1, (global_memory.element_address(writer, view, place, 0),))


def _buffer_data(writer: Writer, call: Call) -> Value:
    storage = buffers.view_of(writer, call.arguments[0]).storage
    if not isinstance(storage, GlobalMemory):
        writer.refuse(f"the address {call.node} of local or shared memory", "global memory")
    return Value(HANDLE, 1, (storage.address,))


def _add_offset(writer: Writer, call: Call) -> Value:
    base, offset = (writer.evaluate(argument) for argument in call.arguments[:2])
    wide = cast(writer, offset, INT64 if offset.scalar.is_signed else UINT64)
    return writer.map(Op.I_ADD, HANDLE, base, wide)


OPERATIONS: Mapping[str, Handler] = {
    "tirx.address_of": _address,
    "tirx.tvm_access_ptr": _address,
    "tirx.buffer_data": _buffer_data,
    "tirx.handle_add_byte_offset": _add_offset,
    "tirx.ptr_byte_offset": _add_offset,
}
