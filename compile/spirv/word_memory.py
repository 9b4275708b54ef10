"""Arrays that are seen as several types: local or shared memory as 32-bit words.

TVM makes these when it merges allocations. Types below 32 bits in shared memory are written by
atomic operations on their bits, so that neighbours in one word do not undo each other.
"""

from __future__ import annotations

from ferrylm.compile.spirv.arithmetic import binary, multiply_index
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Op, Scope, Semantics, StorageClass
from ferrylm.compile.spirv.packing import from_words, to_words
from ferrylm.compile.spirv.storage import BufferView, Place, WordMemory
from ferrylm.compile.spirv.values import UINT32, Value
from ferrylm.compile.spirv.writer import Writer

_WORD_BYTES = 4


def allocate(writer: Writer, name: str, size_bytes: int, *, shared: bool) -> WordMemory:
    """Declare an array of so many bytes."""
    module, words = writer.module, max(-(-size_bytes // _WORD_BYTES), 1)
    array = module.array(writer.id_type(UINT32), words)
    storage = StorageClass.WORKGROUP if shared else StorageClass.FUNCTION
    variable = module.variable(storage, array) if shared else writer.body.variable(array)
    if shared:
        writer.shared_bytes += words * _WORD_BYTES
    module.name(variable, name)
    return WordMemory(variable, storage)


def load(writer: Writer, view: BufferView, place: Place) -> Value:
    """Load consecutive scalars."""
    scalar, first = view.scalar, _first(writer, place)
    if _whole_words(view, place):
        count = place.count * scalar.bytes // _WORD_BYTES
        start = _word_index(writer, first, scalar.bytes)
        words = [_load_word(writer, view, start, number) for number in range(count)]
        return from_words(writer, writer.join(words), scalar, place.count)
    lanes = []
    for lane in range(place.count):
        word, shift = _inside_word(writer, first, lane, scalar.bytes)
        found = _load_word(writer, view, word, 0)
        moved = binary(writer, "shift_right", found, shift)
        lanes.append(from_words(writer, moved, scalar, 1))
    return writer.join(lanes)


def store(writer: Writer, view: BufferView, place: Place, value: Value) -> None:
    """Store consecutive scalars."""
    scalar, first = view.scalar, _first(writer, place)
    if _whole_words(view, place):
        start = _word_index(writer, first, scalar.bytes)
        for number, word in enumerate(writer.all_lanes(to_words(writer, value))):
            pointer = _pointer(writer, view, start, number)
            writer.body.effect(Op.STORE, pointer, word.parts[0])
        return
    for lane, each in enumerate(writer.all_lanes(value)):
        word, shift = _inside_word(writer, first, lane, scalar.bytes)
        _store_bits(writer, view, word, shift, scalar.bits, to_words(writer, each))


def _first(writer: Writer, place: Place) -> Value:
    index = cast(writer, place.first, UINT32)
    if not place.offset:
        return index
    return binary(writer, "add", index, writer.constant(UINT32, place.offset & 0xFFFFFFFF))


def _whole_words(view: BufferView, place: Place) -> bool:
    size = view.scalar.bytes
    offset = place.offset & -place.offset if place.offset else place.multiple
    aligned = min(place.multiple, offset) * size % _WORD_BYTES == 0
    return size >= _WORD_BYTES or (aligned and place.count * size % _WORD_BYTES == 0)


def _word_index(writer: Writer, first: Value, size: int) -> Value:
    if size >= _WORD_BYTES:
        return multiply_index(writer, first, size // _WORD_BYTES)
    amount = writer.constant(UINT32, (_WORD_BYTES // size).bit_length() - 1)
    return binary(writer, "shift_right", first, amount)


def _inside_word(writer: Writer, first: Value, lane: int, size: int) -> tuple[Value, Value]:
    """Return the index of a scalar's word and by how many bits the scalar lies in it."""
    index = binary(writer, "add", first, writer.constant(UINT32, lane)) if lane else first
    mask = writer.constant(UINT32, _WORD_BYTES // size - 1)
    shift = multiply_index(writer, binary(writer, "and", index, mask), 8 * size)
    return _word_index(writer, index, size), shift


def _pointer(writer: Writer, view: BufferView, word: Value, number: int) -> int:
    assert isinstance(view.storage, WordMemory)
    kind = writer.module.pointer(StorageClass(view.storage.storage), writer.id_type(UINT32))
    if number:
        word = binary(writer, "add", word, writer.constant(UINT32, number))
    return writer.body.pure(Op.ACCESS_CHAIN, kind, view.storage.variable, word.parts[0])


def _load_word(writer: Writer, view: BufferView, word: Value, number: int) -> Value:
    pointer = _pointer(writer, view, word, number)
    return Value(UINT32, 1, (writer.body.removable(Op.LOAD, writer.id_type(UINT32), pointer),))


def _store_bits(
    writer: Writer, view: BufferView, word: Value, shift: Value, bits: int, value: Value
) -> None:
    assert isinstance(view.storage, WordMemory)
    mask = binary(writer, "shift_left", writer.constant(UINT32, (1 << bits) - 1), shift)
    kept = writer.map(Op.NOT, UINT32, mask)
    new = binary(writer, "shift_left", value, shift)
    pointer, kind = _pointer(writer, view, word, 0), writer.id_type(UINT32)
    if view.storage.storage == StorageClass.FUNCTION:
        old = _load_word(writer, view, word, 0)
        merged = binary(writer, "or", binary(writer, "and", old, kept), new)
        writer.body.effect(Op.STORE, pointer, merged.parts[0])
        return
    order = writer.index(Scope.WORKGROUP), writer.index(Semantics.RELAXED)
    writer.body.value(Op.ATOMIC_AND, kind, pointer, *order, kept.parts[0])
    writer.body.value(Op.ATOMIC_OR, kind, pointer, *order, new.parts[0])
