"""Arrays of a thread (local) and of a workgroup (shared): variables with scalar elements.

Elements have the type in which values are carried, except that shared arrays of small integers
are arrays of small integers where the device has them. Constant indices of local arrays let
drivers keep them in registers.
"""

from __future__ import annotations

from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Capability, MemoryAccess, Op, StorageClass
from ferrylm.compile.spirv.storage import ArrayMemory, BufferView, Place
from ferrylm.compile.spirv.values import MOST_LANES, UINT32, Scalar, Value
from ferrylm.compile.spirv.writer import Writer


def allocate(
    writer: Writer, name: str, scalar: Scalar, length: int, *, shared: bool, lanes: int = 1
) -> ArrayMemory:
    """Declare an array of `length` scalars, in vectors of `lanes` where that is not 1."""
    module, narrow = writer.module, shared and _narrow(writer, scalar)
    element = module.integer(scalar.bits) if narrow else writer.id_type(scalar, lanes)
    array = module.array(element, max(length // lanes, 1))
    if shared:
        variable = module.variable(StorageClass.WORKGROUP, array)
        carried_bytes = 4 if writer.widened(scalar) else max(scalar.bytes, 4)
        native = narrow or (scalar.is_float and not writer.widened(scalar))
        writer.shared_bytes += max(length, 1) * (scalar.bytes if native else carried_bytes)
        storage = StorageClass.WORKGROUP
    else:
        variable, storage = writer.body.variable(array), StorageClass.FUNCTION
    module.name(variable, name)
    return ArrayMemory(variable, storage, scalar, element, narrow, lanes)


def _narrow(writer: Writer, scalar: Scalar) -> bool:
    wanted = {8: (writer.target.int8, Capability.INT8), 16: (writer.target.int16, Capability.INT16)}
    if not scalar.is_integer or scalar.bits not in wanted:
        return False
    available, capability = wanted[scalar.bits]
    if available:
        writer.module.require(capability)
    return available


def element_pointer(writer: Writer, array: ArrayMemory, place: Place, lane: int) -> int:
    """Return a pointer to one element."""
    index, constant = cast(writer, place.first, UINT32), place.offset + lane
    number = writer.number(index)
    if number is not None:
        position = writer.index(number + constant & 0xFFFFFFFF)
    elif constant:
        added = writer.constant(UINT32, constant & 0xFFFFFFFF)
        position = writer.map(Op.I_ADD, UINT32, index, added).parts[0]
    else:
        position = index.parts[0]
    kind = writer.module.pointer(StorageClass(array.storage), array.element_type)
    return writer.body.pure(Op.ACCESS_CHAIN, kind, array.variable, position)


def load(writer: Writer, view: BufferView, place: Place) -> Value:
    """Load consecutive elements."""
    array = view.storage
    assert isinstance(array, ArrayMemory)
    found_ids = []
    for element in range(place.count // array.lanes):
        pointer = element_pointer(writer, array, place, element)
        access = _access(writer, array)
        found = writer.body.removable(Op.LOAD, array.element_type, pointer, *access)
        if array.narrow:
            op = Op.S_CONVERT if array.scalar.is_signed else Op.U_CONVERT
            found = writer.body.pure(op, writer.id_type(array.scalar), found)
        found_ids.append(found)
    if array.lanes == MOST_LANES:
        return Value(array.scalar, place.count, tuple(found_ids))
    return writer.join([Value(array.scalar, 1, (found,)) for found in found_ids])


def store(writer: Writer, view: BufferView, place: Place, value: Value) -> None:
    """Store consecutive elements."""
    array = view.storage
    assert isinstance(array, ArrayMemory)
    parts = value.parts if array.lanes > 1 else [each.parts[0] for each in writer.all_lanes(value)]
    for element, found in enumerate(parts):
        pointer = element_pointer(writer, array, place, element)
        if array.narrow:
            found = writer.body.pure(Op.U_CONVERT, array.element_type, found)
        access = _access(writer, array)
        writer.body.effect(Op.STORE, pointer, found, *access)


def _access(writer: Writer, array: ArrayMemory) -> tuple[int, ...]:
    shared = array.storage == StorageClass.WORKGROUP
    return (MemoryAccess.NON_PRIVATE,) if shared and writer.vulkan_memory_model else ()
