"""Arithmetic, comparisons, bits and logic on values; integers wrap, halves are rounded."""

from __future__ import annotations

from collections.abc import Mapping

from ferrylm.compile.spirv.enumerants import Capability, Glsl, Op
from ferrylm.compile.spirv.values import BOOL, FLOAT16, FLOAT32, UINT32, Scalar, Value, part_lanes
from ferrylm.compile.spirv.writer import Writer

# Name: the instruction for floats, signed and unsigned integers, and truth values; 0 for none.
_BINARY: Mapping[str, tuple[int, int, int, int]] = {
    "add": (Op.F_ADD, Op.I_ADD, Op.I_ADD, 0),
    "sub": (Op.F_SUB, Op.I_SUB, Op.I_SUB, 0),
    "mul": (Op.F_MUL, Op.I_MUL, Op.I_MUL, Op.LOGICAL_AND),
    "div": (Op.F_DIV, Op.S_DIV, Op.U_DIV, 0),
    "and": (0, Op.BITWISE_AND, Op.BITWISE_AND, Op.LOGICAL_AND),
    "or": (0, Op.BITWISE_OR, Op.BITWISE_OR, Op.LOGICAL_OR),
    "xor": (0, Op.BITWISE_XOR, Op.BITWISE_XOR, Op.LOGICAL_NOT_EQUAL),
    "shift_left": (0, Op.SHIFT_LEFT_LOGICAL, Op.SHIFT_LEFT_LOGICAL, 0),
    "shift_right": (0, Op.SHIFT_RIGHT_ARITHMETIC, Op.SHIFT_RIGHT_LOGICAL, 0),
}
# The results of these can leave the range of a type that is carried in a wider one.
_LEAVES_RANGE = frozenset(("add", "sub", "mul", "div", "shift_left"))

_COMPARE: Mapping[str, tuple[int, int, int, int]] = {
    "eq": (Op.F_ORD_EQUAL, Op.I_EQUAL, Op.I_EQUAL, Op.LOGICAL_EQUAL),
    "ne": (Op.F_UNORD_NOT_EQUAL, Op.I_NOT_EQUAL, Op.I_NOT_EQUAL, Op.LOGICAL_NOT_EQUAL),
    "lt": (Op.F_ORD_LESS_THAN, Op.S_LESS_THAN, Op.U_LESS_THAN, 0),
    "le": (Op.F_ORD_LESS_THAN_EQUAL, Op.S_LESS_THAN_EQUAL, Op.U_LESS_THAN_EQUAL, 0),
    "gt": (Op.F_ORD_GREATER_THAN, Op.S_GREATER_THAN, Op.U_GREATER_THAN, 0),
    "ge": (Op.F_ORD_GREATER_THAN_EQUAL, Op.S_GREATER_THAN_EQUAL, Op.U_GREATER_THAN_EQUAL, 0),
}

# IEEE 754 minNum and maxNum: of a number and a NaN the number. GLSL's FMin leaves that open.
_EXTREME: Mapping[str, tuple[int, int, int]] = {
    "min": (Glsl.N_MIN, Glsl.S_MIN, Glsl.U_MIN),
    "max": (Glsl.N_MAX, Glsl.S_MAX, Glsl.U_MAX),
}


def _choose(scalar: Scalar, choices: tuple[int, ...]) -> int:
    if scalar == BOOL:
        return choices[3]
    if scalar.is_float:
        return choices[0]
    return choices[1] if scalar.is_signed else choices[2]


def binary(writer: Writer, name: str, a: Value, b: Value) -> Value:
    """Apply an operation of two operands of one type."""
    op = _choose(a.scalar, _BINARY[name])
    if not op:
        writer.refuse(f"the operation {name} on {a.scalar.name}")
    result = writer.map(op, a.scalar, a, b)
    if op in (Op.F_ADD, Op.F_SUB):
        _watch_sum(writer, op, result, a, b)
    return settle(writer, result) if name in _LEAVES_RANGE else result


def _watch_sum(writer: Writer, op: int, result: Value, a: Value, b: Value) -> None:
    """Keep drivers from cancelling terms of a sum, as in (x + y) - x or (x + 1) - 1.

    Without a decoration they may, and Mesa does: a difference, or a sum with a constant, is part
    of every such cancellation. Other sums are left to become fused multiplications and additions.
    """
    for part, x, y in zip(result.parts, a.parts, b.parts, strict=True):
        if op == Op.F_SUB or writer.module.is_constant(x) or writer.module.is_constant(y):
            writer.exact.add(part)


def keep_exact(writer: Writer, value: Value) -> None:
    """Have an operation computed as it is written."""
    writer.exact.update(value.parts)


def compare(writer: Writer, name: str, a: Value, b: Value) -> Value:
    """Compare; with a NaN everything but `ne` is false."""
    op = _choose(a.scalar, _COMPARE[name])
    if not op:
        writer.refuse(f"the comparison {name} of {a.scalar.name}")
    return writer.map(op, BOOL, a, b)


def extreme(writer: Writer, name: str, a: Value, b: Value) -> Value:
    """Return the smaller or the larger; of a number and a NaN the number."""
    if a.scalar == BOOL:
        return writer.map(Op.LOGICAL_AND if name == "min" else Op.LOGICAL_OR, BOOL, a, b)
    return writer.map_glsl(_choose(a.scalar, _EXTREME[name]), a.scalar, a, b)


def settle(writer: Writer, value: Value) -> Value:
    """Bring the result of an operation back into the range and precision of its type."""
    scalar = value.scalar
    if writer.widened(scalar):
        return round_half(writer, value.typed(FLOAT32))
    if not scalar.is_integer or scalar.bits >= 32:
        return value
    op = Op.BIT_FIELD_S_EXTRACT if scalar.is_signed else Op.BIT_FIELD_U_EXTRACT
    zero, count = writer.index(0), writer.index(scalar.bits)
    parts = [
        writer.body.pure(op, writer.id_type(scalar, size), part, zero, count)
        for part, size in zip(value.parts, part_lanes(value.lanes), strict=True)
    ]
    return Value(scalar, value.lanes, tuple(parts))


def round_half(writer: Writer, value: Value) -> Value:
    """Return floats rounded to halves, which are carried as float32.

    By a conversion to the type that is otherwise for memory: PackHalf2x16 may truncate.
    """
    writer.module.require(Capability.STORAGE_BUFFER_16BIT_ACCESS)
    half, parts = writer.module.floating(16), []
    for part, size in zip(value.parts, part_lanes(value.lanes), strict=True):
        small = writer.body.pure(Op.F_CONVERT, writer.module.vector(half, size), part)
        parts.append(writer.body.pure(Op.F_CONVERT, writer.id_type(FLOAT32, size), small))
        writer.halves_of[parts[-1]] = small
    return Value(FLOAT16, value.lanes, tuple(parts))


def invert(writer: Writer, value: Value) -> Value:
    """Return the value with all bits, or its truth, turned."""
    if value.scalar == BOOL:
        return writer.map(Op.LOGICAL_NOT, BOOL, value)
    inverted = writer.map(Op.NOT, value.scalar, value)
    return inverted if value.scalar.is_signed else settle(writer, inverted)


def select(writer: Writer, condition: Value, a: Value, b: Value) -> Value:
    """Return lanes of a where the condition holds, otherwise those of b."""
    if condition.lanes == 1 and a.lanes > 1:
        condition = writer.broadcast(condition, a.lanes)
    return writer.map(Op.SELECT, a.scalar, condition, a, b)


def divide(writer: Writer, a: Value, b: Value, *, unsigned: bool) -> Value:
    """Return the quotient of integers rounded towards zero; unsigned if neither is negative."""
    if unsigned:
        return writer.map(Op.U_DIV, a.scalar, a, b)
    return binary(writer, "div", a, b)


def remainder(writer: Writer, a: Value, b: Value, *, unsigned: bool) -> Value:
    """Return a - b * trunc(a / b).

    Not by OpSRem: Vulkan leaves its result open for negative operands (Vulkan specification,
    appendix A, Precision and Operation of SPIR-V Instructions).
    """
    if unsigned or not a.scalar.is_signed:
        return writer.map(Op.U_MOD, a.scalar, a, b)
    product = writer.map(Op.I_MUL, a.scalar, writer.map(Op.S_DIV, a.scalar, a, b), b)
    return writer.map(Op.I_SUB, a.scalar, a, product)


def floor_divide(writer: Writer, a: Value, b: Value, *, unsigned: bool) -> tuple[Value, Value]:
    """Return the quotient rounded down and the remainder that has the sign of b."""
    if unsigned or not a.scalar.is_signed:
        return (
            divide(writer, a, b, unsigned=True),
            remainder(writer, a, b, unsigned=True),
        )
    quotient = binary(writer, "div", a, b)
    rest = remainder(writer, a, b, unsigned=False)
    zero = writer.constant(a.scalar, 0, a.lanes)
    differ = compare(writer, "lt", binary(writer, "xor", rest, b), zero)
    off = writer.map(Op.LOGICAL_AND, BOOL, compare(writer, "ne", rest, zero), differ)
    one = writer.constant(a.scalar, 1, a.lanes)
    lower = binary(writer, "sub", quotient, one)
    return (
        select(writer, off, lower, quotient),
        select(writer, off, binary(writer, "add", rest, b), rest),
    )


def multiply_index(writer: Writer, index: Value, factor: int) -> Value:
    """Return a 32-bit index times a constant."""
    if factor == 1:
        return index
    if factor & (factor - 1) == 0:
        amount = writer.constant(UINT32, factor.bit_length() - 1)
        return writer.map(Op.SHIFT_LEFT_LOGICAL, UINT32, index, amount)
    return writer.map(Op.I_MUL, UINT32, index, writer.constant(UINT32, factor))
