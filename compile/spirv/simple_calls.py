"""Operations that are a line each."""

from __future__ import annotations

from collections.abc import Mapping

from ferrylm.compile.spirv import arithmetic
from ferrylm.compile.spirv.call import Call, nothing
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Glsl, Op
from ferrylm.compile.spirv.laziness import choose
from ferrylm.compile.spirv.packing import reinterpret
from ferrylm.compile.spirv.values import BOOL, FLOAT32, INT32, UINT32, UINT64, Value
from ferrylm.compile.spirv.writer import Handler, Writer

_ONE_TYPE = frozenset(Glsl) - {Glsl.PACK_HALF_2X16, Glsl.UNPACK_HALF_2X16, Glsl.FIND_U_MSB}


def _if_then_else(writer: Writer, call: Call) -> Value:
    condition, true, false = call.arguments
    return choose(writer, writer.evaluate(condition), true, false)


def _first(writer: Writer, call: Call) -> Value:
    return writer.evaluate(call.arguments[0])


def _ignore(writer: Writer, _call: Call) -> Value:
    return nothing(writer)


def _reinterpret(writer: Writer, call: Call) -> Value:
    (value,) = call.values(writer, 1)
    return reinterpret(writer, value, *writer.type_of(call.node))


def _unpack_half2(writer: Writer, call: Call) -> Value:
    (word,) = call.values(writer, 1)
    pair = writer.body.glsl(Glsl.UNPACK_HALF_2X16, writer.id_type(FLOAT32, 2), word.parts[0])
    return Value(FLOAT32, 2, (pair,))


def _binary(name: str) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        return arithmetic.binary(writer, name, *call.values(writer, 2))

    return handle


def _bitwise_not(writer: Writer, call: Call) -> Value:
    return arithmetic.invert(writer, call.values(writer, 1)[0])


def _population(writer: Writer, call: Call) -> Value:
    (value,) = call.values(writer, 1)
    scalar = value.scalar
    if scalar.bits == 64:
        # OpBitCount of 64 bits needs an extension that few devices have.
        counts = [_population_of_words(writer, lane) for lane in writer.all_lanes(value)]
        return cast(writer, writer.join(counts), scalar)
    if scalar.is_signed and scalar.bits < 32:
        mask = writer.constant(INT32, (1 << scalar.bits) - 1, value.lanes)
        value = writer.map(Op.BITWISE_AND, INT32, value, mask)
    return writer.map(Op.BIT_COUNT, scalar, value)


def _population_of_words(writer: Writer, value: Value) -> Value:
    words = reinterpret(writer, value, UINT32, 2)
    low, high = writer.all_lanes(writer.map(Op.BIT_COUNT, UINT32, words))
    return arithmetic.binary(writer, "add", low, high)


def _leading_zeros(writer: Writer, call: Call) -> Value:
    (value,) = call.values(writer, 1)
    scalar, to = value.scalar, writer.type_of(call.node)[0]
    if scalar.bits == 64:
        lanes = [_leading_zeros_of_words(writer, lane) for lane in writer.all_lanes(value)]
        return cast(writer, writer.join(lanes), to)
    if scalar.is_signed and scalar.bits < 32:
        mask = writer.constant(INT32, (1 << scalar.bits) - 1, value.lanes)
        value = writer.map(Op.BITWISE_AND, INT32, value, mask)
    return cast(writer, _zeros_above(writer, value.typed(INT32), scalar.bits - 1), to)


def _zeros_above(writer: Writer, value: Value, top: int) -> Value:
    # FindUMsb gives -1 for 0, which makes top + 1.
    highest = writer.map_glsl(Glsl.FIND_U_MSB, INT32, value)
    return arithmetic.binary(writer, "sub", writer.constant(INT32, top, value.lanes), highest)


def _leading_zeros_of_words(writer: Writer, value: Value) -> Value:
    low, high = writer.all_lanes(reinterpret(writer, value, INT32, 2))
    in_high = arithmetic.compare(writer, "ne", high, writer.constant(INT32, 0))
    return arithmetic.select(
        writer, in_high, _zeros_above(writer, high, 31), _zeros_above(writer, low, 63)
    )


def _fma(writer: Writer, call: Call) -> Value:
    a, b, c = call.values(writer, 3)
    if writer.widened(a.scalar):
        # Exact product of two halves in float32, then one rounding of the sum to float32.
        found = writer.map_glsl(Glsl.FMA, FLOAT32, a, b, c)
        return arithmetic.round_half(writer, found)
    return writer.map_glsl(Glsl.FMA, a.scalar, a, b, c)


def _return(writer: Writer, _call: Call) -> Value:
    writer.body.leave()
    return nothing(writer)


def _break(writer: Writer, _call: Call) -> Value:
    writer.body.branch(writer.loops[-1][0])
    return nothing(writer)


def _continue(writer: Writer, _call: Call) -> Value:
    writer.body.branch(writer.loops[-1][1])
    return nothing(writer)


def _half(low: bool) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        lanes = writer.all_lanes(call.values(writer, 1)[0])
        middle = len(lanes) // 2
        return writer.join(lanes[:middle] if low else lanes[middle:])

    return handle


def _combine(writer: Writer, call: Call) -> Value:
    return writer.join(
        [lane for value in call.values(writer, 2) for lane in writer.all_lanes(value)]
    )


def _large_unsigned(writer: Writer, call: Call) -> Value:
    low, high = call.number(writer, 0), call.number(writer, 1)
    return cast(writer, writer.constant(UINT64, (high << 32) | low), writer.type_of(call.node)[0])


def _undefined(writer: Writer, call: Call) -> Value:
    scalar, lanes = writer.type_of(call.node)
    return writer.constant(scalar, 0, lanes)


def _extended_instruction(writer: Writer, call: Call) -> Value:
    """Handle call_spirv_pure_glsl450 (number, operands): instructions of operands of one type."""
    number = call.number(writer, 0)
    values = [writer.evaluate(argument) for argument in call.arguments[1:]]
    scalar = writer.type_of(call.node)[0]
    same = all(value.scalar == scalar for value in values)
    supported = scalar.bits < 64 and not writer.widened(scalar)
    if number not in _ONE_TYPE or not same or not supported:
        writer.refuse(f"the extended instruction {number} of GLSL.std.450 on {scalar.name}")
    return writer.map_glsl(number, scalar, *values)


def _is_null(writer: Writer, call: Call) -> Value:
    (value,) = call.values(writer, 1)
    return writer.map(Op.I_EQUAL, BOOL, value, writer.constant(UINT64, 0))


OPERATIONS: Mapping[str, Handler] = {
    "prim.if_then_else": _if_then_else,
    "prim.likely": _first,
    "prim.clz": _leading_zeros,
    "tirx.tvm_thread_invariant": _first,
    "tirx.assume": _ignore,
    "tirx.prefetch": _ignore,
    "tirx.ignore_loop_partition": _first,
    "tirx.reinterpret": _reinterpret,
    "tirx.bitwise_and": _binary("and"),
    "tirx.bitwise_or": _binary("or"),
    "tirx.bitwise_xor": _binary("xor"),
    "tirx.bitwise_not": _bitwise_not,
    "tirx.shift_left": _binary("shift_left"),
    "tirx.shift_right": _binary("shift_right"),
    "tirx.popcount": _population,
    "tirx.fma": _fma,
    "ferrylm.fma": _fma,
    "ferrylm.unpack_half2": _unpack_half2,
    "tirx.thread_return": _return,
    "tirx.ret": _return,
    "tirx.break_loop": _break,
    "tirx.continue_loop": _continue,
    "tirx.vectorlow": _half(True),
    "tirx.vectorhigh": _half(False),
    "tirx.vectorcombine": _combine,
    "tirx.large_uint_imm": _large_unsigned,
    "tirx.undef": _undefined,
    "tirx.isnullptr": _is_null,
    "tirx.call_spirv_pure_glsl450": _extended_instruction,
}
