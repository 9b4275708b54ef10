"""Dot products of four bytes, by the device's instruction or by multiplications."""

from __future__ import annotations

from collections.abc import Mapping

from ferrylm.compile.spirv.arithmetic import binary
from ferrylm.compile.spirv.call import Call
from ferrylm.compile.spirv.enumerants import (
    PACKED_VECTOR_4X8BIT,
    SPIRV_1_6,
    Capability,
    Op,
)
from ferrylm.compile.spirv.packing import from_words, reinterpret
from ferrylm.compile.spirv.values import INT32, UINT32, Scalar, Value
from ferrylm.compile.spirv.writer import Handler, Writer

_BYTES = {True: Scalar("int", 8), False: Scalar("uint", 8)}
_INSTRUCTIONS = {
    (True, True): Op.S_DOT,
    (False, False): Op.U_DOT,
    (True, False): Op.SU_DOT,
}


def _dot4(a_signed: bool, b_signed: bool) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        a, b, total = call.values(writer, 3)
        lanes = [
            _dot_lane(writer, (x, a_signed), (y, b_signed), z)
            for x, y, z in zip(*(writer.all_lanes(each) for each in (a, b, total)), strict=True)
        ]
        return writer.join(lanes).typed(total.scalar)

    return handle


def _dp4a(writer: Writer, call: Call) -> Value:
    """Handle tirx.dp4a (bytes, bytes, sum): the types of the bytes say if they have signs."""
    a, b, total = call.values(writer, 3)
    signs = a.scalar.is_signed, b.scalar.is_signed
    words = [reinterpret(writer, each, UINT32, 1) for each in (a, b)]
    found = _dot_lane(writer, (words[0], signs[0]), (words[1], signs[1]), total)
    return found.typed(total.scalar)


def _dot_lane(writer: Writer, a: tuple[Value, bool], b: tuple[Value, bool], total: Value) -> Value:
    if b[1] and not a[1]:
        a, b = b, a  # the instruction for mixed signs has the signed operand first
    if not writer.target.dot_product:
        return _multiplied(writer, a, b, total)
    module = writer.module
    if module.version < SPIRV_1_6:
        module.extensions.add("SPV_KHR_integer_dot_product")
    module.require(Capability.DOT_PRODUCT, Capability.DOT_PRODUCT_INPUT_4X8BIT_PACKED)
    operands = (a[0].parts[0], b[0].parts[0], PACKED_VECTOR_4X8BIT)
    op = _INSTRUCTIONS[a[1], b[1]]
    found = writer.body.pure(op, writer.id_type(INT32), *operands)
    return binary(writer, "add", Value(INT32, 1, (found,)), total.typed(INT32))


def _multiplied(
    writer: Writer, a: tuple[Value, bool], b: tuple[Value, bool], total: Value
) -> Value:
    total = total.typed(INT32)
    factors = [
        [lane.typed(INT32) for lane in writer.all_lanes(from_words(writer, word, _BYTES[sign], 4))]
        for word, sign in ((a[0].typed(UINT32), a[1]), (b[0].typed(UINT32), b[1]))
    ]
    for x, y in zip(*factors, strict=True):
        total = binary(writer, "add", total, binary(writer, "mul", x, y))
    return total


OPERATIONS: Mapping[str, Handler] = {
    "ferrylm.dot4_i8": _dot4(True, True),
    "ferrylm.dot4_u8_i8": _dot4(False, True),
    "tirx.dp4a": _dp4a,
}
