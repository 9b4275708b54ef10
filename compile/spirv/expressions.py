"""Expressions of TensorIR, by node type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import ir, tirx

from ferrylm.compile.spirv import arithmetic, buffers
from ferrylm.compile.spirv.calls import call
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Op
from ferrylm.compile.spirv.laziness import choose, has_memory_access
from ferrylm.compile.spirv.values import BOOL, Value
from ferrylm.compile.spirv.writer import Handler, Writer


def _variable(writer: Writer, node: Any) -> Value:
    if node not in writer.values:
        writer.refuse(f"the variable {node.name}, which nothing defines")
    return writer.values[node]


def _number(writer: Writer, node: Any) -> Value:
    return writer.constant(writer.type_of(node)[0], node.value)


def _text(writer: Writer, node: Any) -> Value:
    writer.refuse(f"the text {node}")


def _cast(writer: Writer, node: Any) -> Value:
    return cast(writer, writer.evaluate(node.value), writer.type_of(node)[0])


def _binary(name: str) -> Handler:
    def handle(writer: Writer, node: Any) -> Value:
        return arithmetic.binary(writer, name, *_operands(writer, node))

    return handle


def _compare(name: str) -> Handler:
    def handle(writer: Writer, node: Any) -> Value:
        return arithmetic.compare(writer, name, *_operands(writer, node))

    return handle


def _extreme(name: str) -> Handler:
    def handle(writer: Writer, node: Any) -> Value:
        return arithmetic.extreme(writer, name, *_operands(writer, node))

    return handle


def _operands(writer: Writer, node: Any) -> tuple[Value, Value]:
    return writer.evaluate(node.a), writer.evaluate(node.b)


def _division(name: str) -> Handler:
    def handle(writer: Writer, node: Any) -> Value:
        scalar, lanes = writer.type_of(node)
        if scalar.is_float and name == "div":
            return arithmetic.binary(writer, "div", *_operands(writer, node))
        if not scalar.is_integer:
            writer.refuse(f"the operation {name} on {scalar.name}", "integers")
        unsigned = lanes == 1 and scalar.is_signed and writer.never_negative(node.a, node.b)
        a, b = _operands(writer, node)
        if name == "div":
            return arithmetic.divide(writer, a, b, unsigned=unsigned)
        if name == "mod":
            return arithmetic.remainder(writer, a, b, unsigned=unsigned)
        quotient, rest = arithmetic.floor_divide(writer, a, b, unsigned=unsigned)
        return quotient if name == "floor_div" else rest

    return handle


def _logical(op: Op) -> Handler:
    def handle(writer: Writer, node: Any) -> Value:
        if writer.type_of(node)[1] == 1 and has_memory_access(node.b):
            # As in C the second operand is not evaluated where the first decides.
            falls = op == Op.LOGICAL_OR
            fixed = tirx.IntImm("bool", int(falls))
            a = writer.evaluate(node.a)
            return choose(writer, a, *((fixed, node.b) if falls else (node.b, fixed)))
        return writer.map(op, BOOL, *_operands(writer, node))

    return handle


def _not(writer: Writer, node: Any) -> Value:
    return writer.map(Op.LOGICAL_NOT, BOOL, writer.evaluate(node.a))


def _bitwise_not(writer: Writer, node: Any) -> Value:
    return arithmetic.invert(writer, writer.evaluate(node.a))


def _select(writer: Writer, node: Any) -> Value:
    values = [writer.evaluate(each) for each in (node.condition, node.true_value, node.false_value)]
    return arithmetic.select(writer, *values)


def _ramp(writer: Writer, node: Any) -> Value:
    scalar, lanes = writer.type_of(node)
    base, stride = (
        writer.broadcast(writer.evaluate(each), lanes) for each in (node.base, node.stride)
    )
    steps = writer.join([writer.constant(scalar, lane) for lane in range(lanes)])
    return arithmetic.binary(writer, "add", base, arithmetic.binary(writer, "mul", stride, steps))


def _broadcast(writer: Writer, node: Any) -> Value:
    value = writer.evaluate(node.value)
    return writer.join(writer.all_lanes(value) * int(node.lanes))


def _shuffle(writer: Writer, node: Any) -> Value:
    lanes = [lane for vector in node.vectors for lane in writer.all_lanes(writer.evaluate(vector))]
    if not all(isinstance(index, tirx.IntImm) for index in node.indices):
        writer.refuse("a shuffle by computed lanes", "constant lanes")
    return writer.join([lanes[int(index)] for index in node.indices])


def _let(writer: Writer, node: Any) -> Value:
    bind(writer, node.var, node.value)
    return writer.evaluate(node.body)


def bind(writer: Writer, variable: Any, expression: Any) -> None:
    """Give a variable the value of an expression."""
    if isinstance(variable.ty, ir.PointerType):
        writer.storages[variable] = buffers.storage_of(writer, expression)
        return
    writer.values[variable] = writer.evaluate(expression)
    scalar, lanes = writer.type_of(variable)
    if scalar.is_integer and lanes == 1:
        writer.analyzer.bind(variable, expression, True)


EXPRESSIONS: Mapping[type, Handler] = {
    ir.Var: _variable,
    ir.StringImm: _text,
    ir.Call: call,
    ir.TensorLoad: buffers.load,
    tirx.IntImm: _number,
    tirx.FloatImm: _number,
    tirx.Cast: _cast,
    tirx.Add: _binary("add"),
    tirx.Sub: _binary("sub"),
    tirx.Mul: _binary("mul"),
    tirx.Div: _division("div"),
    tirx.Mod: _division("mod"),
    tirx.FloorDiv: _division("floor_div"),
    tirx.FloorMod: _division("floor_mod"),
    tirx.Min: _extreme("min"),
    tirx.Max: _extreme("max"),
    tirx.EQ: _compare("eq"),
    tirx.NE: _compare("ne"),
    tirx.LT: _compare("lt"),
    tirx.LE: _compare("le"),
    tirx.GT: _compare("gt"),
    tirx.GE: _compare("ge"),
    tirx.And: _logical(Op.LOGICAL_AND),
    tirx.Or: _logical(Op.LOGICAL_OR),
    tirx.Not: _not,
    tirx.LShift: _binary("shift_left"),
    tirx.RShift: _binary("shift_right"),
    tirx.BitwiseAnd: _binary("and"),
    tirx.BitwiseOr: _binary("or"),
    tirx.BitwiseXor: _binary("xor"),
    tirx.BitwiseNot: _bitwise_not,
    tirx.Select: _select,
    tirx.Ramp: _ramp,
    tirx.Broadcast: _broadcast,
    tirx.Shuffle: _shuffle,
    tirx.Let: _let,
}
