"""Buffers: declared and allocated, indexed, loaded and stored."""

from __future__ import annotations

import math
from typing import Any

from tvm import ir, tirx

from ferrylm.compile.spirv import array_memory, global_memory, word_memory
from ferrylm.compile.spirv.enumerants import Op
from ferrylm.compile.spirv.storage import (
    ArrayMemory,
    BufferView,
    GlobalMemory,
    Place,
    Storage,
    WordMemory,
)
from ferrylm.compile.spirv.values import HANDLE, MOST_LANES, Scalar, Value, parse_type
from ferrylm.compile.spirv.writer import Writer

_SMALLEST_ALIGNMENT_BYTES = 1


def view_of(writer: Writer, buffer: Any) -> BufferView:
    """Return the buffer that a load or store names."""
    if buffer not in writer.views:
        writer.refuse(f"the buffer {buffer.name}, which nothing declares")
    return writer.views[buffer]


def declare(writer: Writer, statement: Any) -> None:
    """Handle DeclBuffer: a view of memory that exists."""
    buffer = statement.buffer
    storage = storage_of(writer, statement.data)
    writer.views[buffer] = _view(writer, buffer, storage, statement.data)


def allocate(writer: Writer, statement: Any) -> None:
    """Handle AllocBuffer: an array of the thread or of the workgroup."""
    buffer = statement.buffer
    scope = str(buffer.ty.storage_scope)
    scalar, lanes = _element(writer, buffer)
    length = _constant_length(writer, buffer)
    kind = scope.split(".")[0]
    if kind not in ("local", "shared") or scope not in ("local", "shared", "shared.dyn"):
        writer.refuse(f"memory of scope {scope} ({buffer.name})", "local or shared")
    name, shared = str(buffer.name), kind == "shared"
    seen = writer.seen_types.get(buffer, {scalar})
    storage: Storage
    if len(seen) == 1:
        (element,) = seen
        length = length * lanes * scalar.bytes // element.bytes
        # Without views every access is to whole elements.
        whole = shared and lanes == MOST_LANES and element.bits == 32
        vector = lanes if whole and buffer not in writer.seen_types else 1
        storage = array_memory.allocate(writer, name, element, length, shared=shared, lanes=vector)
    else:
        size = length * lanes * scalar.bytes
        storage = word_memory.allocate(writer, name, size, shared=shared)
    writer.storages[buffer] = storage
    writer.views[buffer] = _view(writer, buffer, storage, None)


def storage_of(writer: Writer, data: Any) -> Storage:
    """Return the memory that a pointer expression points into."""
    if isinstance(data, ir.Var) and data in writer.storages:
        return writer.storages[data]
    if isinstance(data, ir.Call) and data.op.name == "tirx.buffer_data":
        return view_of(writer, data.args[0]).storage
    return GlobalMemory(writer.evaluate(data).parts[0])


def _element(writer: Writer, buffer: Any) -> tuple[Scalar, int]:
    found = parse_type(str(buffer.ty.dtype))
    if found is None or found[0] == HANDLE:
        writer.refuse(f"the buffer {buffer.name} of {buffer.ty.dtype}")
    return found


def _view(writer: Writer, buffer: Any, storage: Storage, data: Any) -> BufferView:
    scalar, lanes = _element(writer, buffer)
    kind = buffer.ty
    if list(kind.strides):
        writer.refuse(f"the buffer {buffer.name} with strides", "buffers that are flat")
    shape = [int(extent) for extent in kind.shape if isinstance(extent, tirx.IntImm)]
    known = len(shape) == len(kind.shape)
    size = math.prod(shape) * scalar.bytes * lanes if known else None
    offset = kind.elem_offset
    if not (isinstance(offset, tirx.IntImm) and int(offset) == 0):
        writer.refuse(f"the buffer {buffer.name} with an offset", "an offset in its indices")
    alignment = int(kind.data_alignment) or _SMALLEST_ALIGNMENT_BYTES
    if data is not None and data not in writer.parameters:
        alignment = scalar.bytes  # the pointer was computed
    read_only = data is not None and data in writer.read_only
    return BufferView(scalar, lanes, storage, size, alignment & -alignment, read_only)


def _constant_length(writer: Writer, buffer: Any) -> int:
    length = 1
    for extent in buffer.ty.shape:
        if not isinstance(extent, tirx.IntImm):
            writer.refuse(f"the allocation {buffer.name} of {extent} elements", "a constant extent")
        length *= int(extent)
    return length


def load(writer: Writer, expression: Any) -> Value:
    """Handle TensorLoad."""
    return load_at(writer, expression.source, _only_index(writer, expression))


def load_at(writer: Writer, buffer: Any, index: Any) -> Value:
    """Load a buffer's element or, by a vector of indices, its elements."""
    view = view_of(writer, buffer)
    if isinstance(index, tirx.Broadcast):
        element = load_at(writer, buffer, index.value)
        return writer.join(writer.all_lanes(element) * int(index.lanes))
    place = consecutive(writer, view, index)
    if place is not None:
        return _load_place(writer, view, place)
    found = [_load_place(writer, view, each) for each in _scattered(writer, view, index)]
    return writer.join([lane for value in found for lane in writer.all_lanes(value)])


def store(writer: Writer, statement: Any) -> None:
    """Handle BufferStore."""
    view, index = view_of(writer, statement.buffer), _only_index(writer, statement)
    value = writer.evaluate(statement.value)
    place = consecutive(writer, view, index)
    if place is not None:
        if place.count != value.lanes:
            value = writer.broadcast(value, place.count)
        _store_place(writer, view, place, value)
        return
    places = _scattered(writer, view, index)
    lanes = writer.all_lanes(value)
    for position, each in enumerate(places):
        part = lanes[position * view.lanes : (position + 1) * view.lanes]
        _store_place(writer, view, each, writer.join(part))


def _only_index(writer: Writer, access: Any) -> Any:
    indices = list(access.indices)
    if getattr(access, "predicate", None) is not None:
        writer.refuse("an access under a mask", "an access inside if_then_else")
    if len(indices) != 1:
        writer.refuse(f"an access with {len(indices)} indices", "buffers that are flat")
    return indices[0]


def consecutive(writer: Writer, view: BufferView, index: Any) -> Place | None:
    """Return the place of an index, or None for a vector whose elements lie apart."""
    elements = 1
    if isinstance(index, tirx.Ramp):
        if not (isinstance(index.stride, tirx.IntImm) and int(index.stride) == 1):
            return None
        elements, index = int(index.lanes), index.base
    elif writer.type_of(index)[1] != 1:
        return None
    count = elements * view.lanes
    first, offset = index, 0
    sum_ = isinstance(index, tirx.Add) and isinstance(index.b, tirx.IntImm)
    # Apart only where the sum cannot wrap: drivers put the constant into the instruction.
    if sum_ and writer.never_negative(index.a):
        first, offset = index.a, int(index.b)
    multiple = writer.bits_known_zero(first)
    found = writer.evaluate(first)
    return scaled(writer, view, found, offset, count, multiple)


def scaled(
    writer: Writer, view: BufferView, index: Value, offset: int, count: int, multiple: int
) -> Place:
    """Return a place whose index counts elements of several lanes."""
    if isinstance(view.storage, ArrayMemory) and view.storage.lanes > 1:
        return Place(index, offset, count, multiple)
    if view.lanes > 1:
        factor = writer.constant(index.scalar, view.lanes)
        index = writer.map(Op.I_MUL, index.scalar, index, factor)
        multiple *= view.lanes & -view.lanes
    return Place(index, offset * view.lanes, count, multiple)


def _scattered(writer: Writer, view: BufferView, index: Any) -> list[Place]:
    each = writer.all_lanes(writer.evaluate(index))
    return [scaled(writer, view, lane, 0, view.lanes, 1) for lane in each]


def _load_place(writer: Writer, view: BufferView, place: Place) -> Value:
    if isinstance(view.storage, GlobalMemory):
        return global_memory.load(writer, view, place)
    if isinstance(view.storage, WordMemory):
        return word_memory.load(writer, view, place)
    return array_memory.load(writer, view, place)


def _store_place(writer: Writer, view: BufferView, place: Place, value: Value) -> None:
    if isinstance(view.storage, GlobalMemory):
        global_memory.store(writer, view, place, value)
    elif isinstance(view.storage, WordMemory):
        word_memory.store(writer, view, place, value)
    else:
        array_memory.store(writer, view, place, value)
