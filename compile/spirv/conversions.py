"""Casts between types, which follow C; see `cast`."""

from __future__ import annotations

from ferrylm.compile.spirv.arithmetic import compare, round_half, select, settle
from ferrylm.compile.spirv.enumerants import Capability, Op
from ferrylm.compile.spirv.values import BOOL, FLOAT32, HANDLE, INT64, Scalar, Value, part_lanes
from ferrylm.compile.spirv.writer import Writer


def cast(writer: Writer, value: Value, to: Scalar) -> Value:
    """Return the value as another type.

    Integers are cut or extended by their own sign. Floats to integers are truncated; what does
    not fit gives any number, as in C, but a float that fits an int32 gives its low bits in a
    narrower type. Anything but zero is true.
    """
    source = value.scalar
    if source == to:
        return value
    if source == BOOL:
        one, zero = (writer.constant(to, number, value.lanes) for number in (1, 0))
        return select(writer, value, one, zero)
    if to == BOOL:
        return compare(writer, "ne", value, writer.constant(source, 0, value.lanes))
    if HANDLE in (source, to):
        return _handle(writer, value, to)
    if source.is_float:
        return _float_to_float(writer, value, to) if to.is_float else _to_integer(writer, value, to)
    return _to_float(writer, value, to) if to.is_float else _resize(writer, value, to)


def _handle(writer: Writer, value: Value, to: Scalar) -> Value:
    if to == HANDLE:
        return _resize(writer, value, INT64).typed(HANDLE)
    if to.bits != 64 or not to.is_integer:
        writer.refuse(f"a cast of a pointer to {to.name}")
    return value.typed(to)


def _resize(writer: Writer, value: Value, to: Scalar) -> Value:
    source = value.scalar
    if to.bits == 64 and source.bits < 64:
        op = Op.S_CONVERT if source.is_signed else Op.U_CONVERT
        return writer.map(op, to, value)
    if to.bits < 64 and source.bits == 64:
        return settle(writer, writer.map(Op.U_CONVERT, to, value))
    fits = to.bits >= 32 or (source.bits < to.bits and not source.is_signed)
    fits = fits or (source.bits < to.bits and to.is_signed)
    return value.typed(to) if fits else settle(writer, value.typed(to))


def _to_integer(writer: Writer, value: Value, to: Scalar) -> Value:
    unsigned = not to.is_signed and to.bits >= 32
    return settle(
        writer, writer.map(Op.CONVERT_F_TO_U if unsigned else Op.CONVERT_F_TO_S, to, value)
    )


def _to_float(writer: Writer, value: Value, to: Scalar) -> Value:
    op = Op.CONVERT_S_TO_F if value.scalar.is_signed else Op.CONVERT_U_TO_F
    return settle(writer, writer.map(op, to, value))


def _float_to_float(writer: Writer, value: Value, to: Scalar) -> Value:
    if writer.widened(to):
        return round_half(writer, value)
    if writer.widened(value.scalar) and to == FLOAT32:
        return value.typed(FLOAT32)
    return writer.map(Op.F_CONVERT, to, value)


def as_memory_half(writer: Writer, part: int, lanes: int) -> int:
    """Return a float32 vector that holds rounded halves as halves."""
    if part in writer.halves_of:
        return writer.halves_of[part]
    writer.module.require(Capability.STORAGE_BUFFER_16BIT_ACCESS)
    kind = writer.module.vector(writer.module.floating(16), lanes)
    return writer.body.pure(Op.F_CONVERT, kind, part)


def parts_with_lanes(value: Value) -> list[tuple[int, int]]:
    """Return the ids of a value's vectors with the lanes of each."""
    return list(zip(value.parts, part_lanes(value.lanes), strict=True))
