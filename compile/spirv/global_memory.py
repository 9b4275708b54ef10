"""Loads and stores by physical address, as wide as the alignment allows."""

from __future__ import annotations

from ferrylm.compile.spirv.arithmetic import compare, multiply_index, select
from ferrylm.compile.spirv.conversions import as_memory_half, cast, parts_with_lanes
from ferrylm.compile.spirv.enumerants import Capability, MemoryAccess, Op, StorageClass
from ferrylm.compile.spirv.packing import from_words, to_words
from ferrylm.compile.spirv.storage import BufferView, GlobalMemory, Place
from ferrylm.compile.spirv.values import (
    BOOL,
    FLOAT16,
    INT64,
    UINT32,
    UINT64,
    Scalar,
    Value,
)
from ferrylm.compile.spirv.writer import Writer

_WIDEST_BYTES = 16
_ADDRESSABLE_BYTES = 1 << 32  # by a 32-bit offset


def load(writer: Writer, view: BufferView, place: Place) -> Value:
    """Load consecutive scalars."""
    scalar, aligned = view.scalar, _alignment(view, place)
    if scalar.bits >= 32:
        return _load_wide(writer, view, place, scalar, place.count, aligned)
    if aligned >= 4 and place.count * scalar.bytes % 4 == 0:
        words = place.count * scalar.bytes // 4
        return from_words(
            writer, _load_wide(writer, view, place, UINT32, words, aligned), scalar, place.count
        )
    lanes = [_load_small(writer, view, place, lane) for lane in range(place.count)]
    return writer.join(lanes)


def store(writer: Writer, view: BufferView, place: Place, value: Value) -> None:
    """Store consecutive scalars."""
    scalar, aligned = view.scalar, _alignment(view, place)
    if scalar.bits >= 32:
        _store_wide(writer, view, place, value, aligned)
    elif aligned >= 4 and place.count * scalar.bytes % 4 == 0:
        _store_wide(writer, view, place, to_words(writer, value), aligned)
    else:
        for lane, each in enumerate(writer.all_lanes(value)):
            _store_small(writer, view, place, lane, each)


def element_pointer(writer: Writer, view: BufferView, place: Place, pointee: int) -> int:
    """Return a pointer to the first scalar, as the type `pointee`."""
    kind = writer.module.pointer(StorageClass.PHYSICAL_STORAGE_BUFFER, pointee)
    address = element_address(writer, view, place, 0)
    return writer.body.pure(Op.CONVERT_U_TO_PTR, kind, address)


def element_address(writer: Writer, view: BufferView, place: Place, extra_bytes: int) -> int:
    """Return the address of the first scalar plus a constant.

    Drivers add a 32-bit offset to a 64-bit base and a constant within the load instruction, so
    the address is made of these three where the buffer has less than 4 GiB.
    """
    assert isinstance(view.storage, GlobalMemory)
    size, wide = view.scalar.bytes, writer.id_type(UINT64)
    constant = place.offset * size + extra_bytes
    number = writer.number(place.first)
    address = view.storage.address
    if number is not None and place.first.scalar.bits == 32:
        signed = number - (1 << 32) if place.first.scalar.is_signed and number >> 31 else number
        constant += signed * size
    else:
        offset = _byte_offset(writer, view, place.first)
        address = writer.body.pure(Op.I_ADD, wide, address, offset)
    if not constant:
        return address
    added = writer.constant(UINT64, constant & 0xFFFFFFFFFFFFFFFF).parts[0]
    return writer.body.pure(Op.I_ADD, wide, address, added)


def _byte_offset(writer: Writer, view: BufferView, index: Value) -> int:
    wide, size = writer.id_type(UINT64), view.scalar.bytes
    small = view.bytes is not None and view.bytes <= _ADDRESSABLE_BYTES
    if index.scalar.bits < 64 and small:
        offset = multiply_index(writer, index.typed(UINT32), size)
        return writer.body.pure(Op.U_CONVERT, wide, offset.parts[0])
    index = cast(writer, index, INT64 if index.scalar.is_signed else UINT64)
    if size == 1:
        return index.parts[0]
    amount = writer.index(size.bit_length() - 1)
    return writer.body.pure(Op.SHIFT_LEFT_LOGICAL, wide, index.parts[0], amount)


def _alignment(view: BufferView, place: Place) -> int:
    """Return the power of two of bytes that the first scalar's address is known to divide."""
    offset = place.offset & -place.offset if place.offset else _WIDEST_BYTES
    return min(view.alignment_bytes, min(place.multiple, offset) * view.scalar.bytes, _WIDEST_BYTES)


def _lanes_at_once(scalar: Scalar) -> int:
    return min(4, _WIDEST_BYTES // scalar.bytes)


def _pointer(
    writer: Writer, view: BufferView, place: Place, extra_bytes: int, pointee: int, readable: bool
) -> int:
    """Return a typed pointer; one that is only read through says so by its type."""
    module, address = writer.module, element_address(writer, view, place, extra_bytes)
    storage = StorageClass.PHYSICAL_STORAGE_BUFFER
    if not (readable and view.read_only):
        kind = module.pointer(storage, pointee)
        return writer.body.pure(Op.CONVERT_U_TO_PTR, kind, address)
    block = module.pointer(storage, module.block([pointee], [0], read_only=True))
    base = writer.body.pure(Op.CONVERT_U_TO_PTR, block, address)
    kind = module.pointer(storage, pointee)
    return writer.body.pure(Op.ACCESS_CHAIN, kind, base, writer.index(0))


def _load_wide(
    writer: Writer, view: BufferView, place: Place, scalar: Scalar, count: int, aligned: int
) -> Value:
    found, start, step = [], 0, _lanes_at_once(scalar)
    while start < count:
        lanes = min(step, count - start)
        kind, extra = writer.id_type(scalar, lanes), start * scalar.bytes
        pointer = _pointer(writer, view, place, extra, kind, True)
        access = _access(writer, view, _aligned_at(aligned, extra))
        part = writer.body.removable(Op.LOAD, kind, pointer, *access)
        found.append(Value(scalar, lanes, (part,)))
        start += lanes
    return _concatenated(writer, found, step)


def _concatenated(writer: Writer, found: list[Value], step: int) -> Value:
    if step == 4:
        lanes = sum(each.lanes for each in found)
        return Value(found[0].scalar, lanes, tuple(each.parts[0] for each in found))
    return writer.join([lane for each in found for lane in writer.all_lanes(each)])


def _store_wide(writer: Writer, view: BufferView, place: Place, value: Value, aligned: int) -> None:
    step, scalar = _lanes_at_once(value.scalar), value.scalar
    if step != 4:
        lanes = writer.all_lanes(value)
        pieces = [writer.join(lanes[at : at + step]) for at in range(0, len(lanes), step)]
    else:
        pieces = [Value(scalar, size, (part,)) for part, size in parts_with_lanes(value)]
    for position, piece in enumerate(pieces):
        extra, kind = position * step * scalar.bytes, writer.id_type(scalar, piece.lanes)
        pointer = _pointer(writer, view, place, extra, kind, False)
        access = _access(writer, view, _aligned_at(aligned, extra))
        writer.body.effect(Op.STORE, pointer, piece.parts[0], *access)


def _access(writer: Writer, view: BufferView, aligned: int) -> tuple[int, int]:
    """Return the memory operands of a load or store."""
    shared = writer.vulkan_memory_model and not view.read_only
    return MemoryAccess.ALIGNED | (MemoryAccess.NON_PRIVATE if shared else 0), aligned


def _aligned_at(aligned: int, extra_bytes: int) -> int:
    return min(aligned, extra_bytes & -extra_bytes) if extra_bytes else aligned


def _small_type(writer: Writer, scalar: Scalar) -> int:
    """Return the type that memory has for a scalar of 8 or 16 bits."""
    module = writer.module
    if scalar.bits == 8:
        if not writer.target.storage8:
            writer.refuse("bytes in memory", "32-bit words, as the target has no 8-bit storage")
        module.require(Capability.STORAGE_BUFFER_8BIT_ACCESS)
        return module.integer(8)
    if not writer.target.storage16:
        writer.refuse("16-bit values in memory", "32-bit words, as the target has none of 16")
    module.require(Capability.STORAGE_BUFFER_16BIT_ACCESS)
    return module.floating(16) if scalar == FLOAT16 else module.integer(16)


def _load_small(writer: Writer, view: BufferView, place: Place, lane: int) -> Value:
    scalar, kind = view.scalar, _small_type(writer, view.scalar)
    pointer = _pointer(writer, view, place, lane * scalar.bytes, kind, True)
    access = _access(writer, view, scalar.bytes)
    found = writer.body.removable(Op.LOAD, kind, pointer, *access)
    if scalar == FLOAT16:
        if writer.widened(scalar):
            found = writer.body.pure(Op.F_CONVERT, writer.id_type(scalar), found)
        return Value(scalar, 1, (found,))
    op = Op.S_CONVERT if scalar.is_signed else Op.U_CONVERT
    carried = Scalar("uint", 8) if scalar == BOOL else scalar
    wide = Value(carried, 1, (writer.body.pure(op, writer.id_type(carried), found),))
    return compare(writer, "ne", wide, writer.constant(carried, 0)) if scalar == BOOL else wide


def _store_small(writer: Writer, view: BufferView, place: Place, lane: int, value: Value) -> None:
    scalar, kind = view.scalar, _small_type(writer, view.scalar)
    if scalar == BOOL:
        byte = Scalar("uint", 8)
        value = select(writer, value, writer.constant(byte, 1), writer.constant(byte, 0))
    small = value.parts[0]
    if scalar != FLOAT16:
        small = writer.body.pure(Op.U_CONVERT, kind, small)
    elif writer.widened(scalar):
        small = as_memory_half(writer, small, 1)
    pointer = _pointer(writer, view, place, lane * scalar.bytes, kind, False)
    writer.body.effect(Op.STORE, pointer, small, *_access(writer, view, scalar.bytes))
