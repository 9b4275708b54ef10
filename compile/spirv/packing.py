"""Values as 32-bit words and back: for reinterpret, and for memory that is reached by words."""

from __future__ import annotations

from collections.abc import Sequence

from ferrylm.compile.spirv.arithmetic import compare, select
from ferrylm.compile.spirv.conversions import parts_with_lanes
from ferrylm.compile.spirv.enumerants import Glsl, Op
from ferrylm.compile.spirv.values import (
    BOOL,
    FLOAT16,
    FLOAT32,
    UINT32,
    Scalar,
    Value,
    part_lanes,
)
from ferrylm.compile.spirv.writer import Writer

_BYTE = Scalar("uint", 8)


def reinterpret(writer: Writer, value: Value, scalar: Scalar, lanes: int) -> Value:
    """Return the bits of a value as another type of the same size."""
    source = value.scalar
    if value.lanes * source.bits != lanes * scalar.bits:
        writer.refuse(
            f"a reinterpret of {source.name}x{value.lanes} as {scalar.name}x{lanes}",
            "types of equal size",
        )
    if source.bits == scalar.bits and source.bits >= 32:
        if source.is_float == scalar.is_float:
            return value.typed(scalar)
        return writer.map(Op.BITCAST, scalar, value)
    return from_words(writer, to_words(writer, value), scalar, lanes)


def to_words(writer: Writer, value: Value) -> Value:
    """Return the bits of a value as uint32 words; zeros fill up the last one."""
    if value.parts in writer.words_of:
        return writer.words_of[value.parts]
    scalar = value.scalar
    if scalar == BOOL:
        one, zero = (writer.constant(_BYTE, number, value.lanes) for number in (1, 0))
        return to_words(writer, select(writer, value, one, zero))
    if scalar.bits == 32:
        return writer.map(Op.BITCAST, UINT32, value) if scalar.is_float else value.typed(UINT32)
    if scalar.bits == 64:
        pair = writer.id_type(UINT32, 2)
        halves = [
            Value(UINT32, 2, (writer.body.pure(Op.BITCAST, pair, each.parts[0]),))
            for each in writer.all_lanes(value)
        ]
        return writer.join([lane for half in halves for lane in writer.all_lanes(half)])
    if scalar == FLOAT16:
        return _half_words(writer, value)
    return _small_words(writer, value)


def _half_words(writer: Writer, value: Value) -> Value:
    lanes = writer.all_lanes(value)
    if len(lanes) % 2:
        lanes.append(writer.constant(FLOAT16, 0))
    padded, words = writer.join(lanes), []
    for part, size in parts_with_lanes(padded):
        if not writer.widened(FLOAT16):
            kind = writer.id_type(UINT32, size // 2)
            packed = Value(UINT32, size // 2, (writer.body.pure(Op.BITCAST, kind, part),))
            words += writer.all_lanes(packed)
            continue
        # Exact, whatever rounding the device takes: these floats have been rounded to halves.
        for pair in _pairs(writer, Value(FLOAT32, size, (part,))):
            word = writer.body.glsl(Glsl.PACK_HALF_2X16, writer.id_type(UINT32), *pair.parts)
            words.append(Value(UINT32, 1, (word,)))
    return writer.join(words)


def _pairs(writer: Writer, value: Value) -> list[Value]:
    lanes = writer.all_lanes(value)
    return [writer.join(lanes[start : start + 2]) for start in range(0, len(lanes), 2)]


def _small_words(writer: Writer, value: Value) -> Value:
    bits, lanes = value.scalar.bits, writer.all_lanes(value)
    count, words = 32 // bits, []
    for start in range(0, len(lanes), count):
        inside = lanes[start : start + count]
        word = inside[0].parts[0]
        if len(inside) == 1:  # the bits above are those of the sign
            word = _bit_field(writer, Op.BIT_FIELD_U_EXTRACT, word, 0, bits)
        for position, lane in enumerate(inside[1:], 1):
            word = _insert(writer, word, lane.parts[0], position * bits, 32 - position * bits)
        if 1 < len(inside) < count:
            word = _bit_field(writer, Op.BIT_FIELD_U_EXTRACT, word, 0, len(inside) * bits)
        words.append(Value(UINT32, 1, (word,)))
    return writer.join(words)


def _bit_field(writer: Writer, op: Op, word: int, offset: int, count: int) -> int:
    kind = writer.id_type(UINT32)
    return writer.body.pure(op, kind, word, writer.index(offset), writer.index(count))


def _insert(writer: Writer, word: int, bits: int, offset: int, count: int) -> int:
    kind, place = writer.id_type(UINT32), (writer.index(offset), writer.index(count))
    return writer.body.pure(Op.BIT_FIELD_INSERT, kind, word, bits, *place)


def from_words(writer: Writer, words: Value, scalar: Scalar, lanes: int) -> Value:
    """Return `lanes` lanes of a type from the words that hold them."""
    if scalar.bits == 32:
        return writer.map(Op.BITCAST, scalar, words) if scalar.is_float else words.typed(scalar)
    if scalar.bits == 64:
        kind = writer.id_type(scalar)
        pairs = [pair.parts[0] for pair in _pairs(writer, words)]
        return writer.join(
            [Value(scalar, 1, (writer.body.pure(Op.BITCAST, kind, pair),)) for pair in pairs]
        )
    if scalar == FLOAT16:
        halves = _halves(writer, words, lanes)
        if lanes == 2 * words.lanes:
            writer.words_of[halves.parts] = words
        return halves
    if scalar == BOOL:
        found = _small_lanes(writer, words, _BYTE, lanes)
        return compare(writer, "ne", found, writer.constant(_BYTE, 0, lanes))
    result = _small_lanes(writer, words, scalar, lanes)
    writer.words_of[result.parts] = words
    return result


def _small_lanes(writer: Writer, words: Value, scalar: Scalar, lanes: int) -> Value:
    op = Op.BIT_FIELD_S_EXTRACT if scalar.is_signed else Op.BIT_FIELD_U_EXTRACT
    each_word, count = writer.all_lanes(words), 32 // scalar.bits
    found = [
        _bit_field(
            writer, op, each_word[lane // count].parts[0], lane % count * scalar.bits, scalar.bits
        )
        for lane in range(lanes)
    ]
    return writer.join([Value(scalar, 1, (lane,)) for lane in found])


def _halves(writer: Writer, words: Value, lanes: int) -> Value:
    each_word, parts = writer.all_lanes(words), []
    for size in part_lanes(words.lanes * 2):
        inside, each_word = each_word[: size // 2], each_word[size // 2 :]
        parts.append(_half_part(writer, inside, size))
    found = Value(FLOAT16, words.lanes * 2, tuple(parts))
    return found if found.lanes == lanes else writer.join(writer.all_lanes(found)[:lanes])


def _half_part(writer: Writer, words: Sequence[Value], size: int) -> int:
    if not writer.widened(FLOAT16):
        kind = writer.id_type(FLOAT16, size)
        return writer.body.pure(Op.BITCAST, kind, writer.join(words).parts[0])
    pair = writer.id_type(FLOAT32, 2)
    found = [writer.body.glsl(Glsl.UNPACK_HALF_2X16, pair, word.parts[0]) for word in words]
    if len(found) == 1:
        return found[0]
    return writer.body.pure(Op.VECTOR_SHUFFLE, writer.id_type(FLOAT32, size), *found, 0, 1, 2, 3)
