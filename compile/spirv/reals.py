"""Formulas on float32 values in one line each: the vocabulary of expansions.py."""

from __future__ import annotations

from collections.abc import Sequence

from ferrylm.compile.spirv import arithmetic
from ferrylm.compile.spirv.enumerants import Glsl, Op
from ferrylm.compile.spirv.values import BOOL, FLOAT32, INT32, UINT32, Value
from ferrylm.compile.spirv.writer import Writer

Operand = Value | float


class Reals:
    """Arithmetic on values of one shape; numbers stand for constants of it."""

    def __init__(self, writer: Writer, like: Value) -> None:
        self.writer, self.scalar, self.lanes = writer, like.scalar, like.lanes

    def value(self, operand: Operand) -> Value:
        """Return an operand as a value."""
        if isinstance(operand, Value):
            return operand
        return self.writer.constant(self.scalar, operand, self.lanes)

    def integer(self, number: int) -> Value:
        """Return an int32 constant."""
        return self.writer.constant(INT32, number, self.lanes)

    def _binary(self, op: Op, a: Operand, b: Operand) -> Value:
        found = self.writer.map(op, self.scalar, self.value(a), self.value(b))
        arithmetic.keep_exact(self.writer, found)
        return found

    def add(self, a: Operand, b: Operand) -> Value:
        """Return a + b."""
        return self._binary(Op.F_ADD, a, b)

    def sub(self, a: Operand, b: Operand) -> Value:
        """Return a - b."""
        return self._binary(Op.F_SUB, a, b)

    def mul(self, a: Operand, b: Operand) -> Value:
        """Return a * b."""
        return self._binary(Op.F_MUL, a, b)

    def div(self, a: Operand, b: Operand) -> Value:
        """Return a / b."""
        return self._binary(Op.F_DIV, a, b)

    def fma(self, a: Operand, b: Operand, c: Operand) -> Value:
        """Return a * b + c."""
        return self.apply(Glsl.FMA, a, b, c)

    def neg(self, a: Operand) -> Value:
        """Return -a."""
        return self.writer.map(Op.F_NEGATE, self.scalar, self.value(a))

    def apply(self, function: Glsl, *operands: Operand) -> Value:
        """Apply an extended instruction."""
        return self.writer.map_glsl(function, self.scalar, *map(self.value, operands))

    def compare(self, name: str, a: Operand, b: Operand) -> Value:
        """Compare: eq, ne, lt, le, gt or ge."""
        return arithmetic.compare(self.writer, name, self.value(a), self.value(b))

    def select(self, condition: Value, a: Operand, b: Operand) -> Value:
        """Return a where the condition holds, else b."""
        return arithmetic.select(self.writer, condition, self.value(a), self.value(b))

    def both(self, a: Value, b: Value) -> Value:
        """Return whether both conditions hold."""
        return self.writer.map(Op.LOGICAL_AND, BOOL, a, b)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Return the polynomial with the coefficients of x**0, x**1, ..."""
        found = self.value(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            found = self.fma(found, x, coefficient)
        return found

    def bits(self, a: Operand) -> Value:
        """Return the bits of a float32 as uint32."""
        return self.writer.map(Op.BITCAST, UINT32, self.value(a))

    def from_bits(self, bits: Value) -> Value:
        """Return the float32 with these bits."""
        return self.writer.map(Op.BITCAST, FLOAT32, bits)

    def mask(self, bits: Value, number: int) -> Value:
        """Return some of the bits."""
        constant = self.writer.constant(UINT32, number, self.lanes)
        return self.writer.map(Op.BITWISE_AND, UINT32, bits, constant)

    def with_sign(self, magnitude: Value, sign: Operand) -> Value:
        """Return the magnitude with the sign bit of another float32."""
        parts = self.mask(self.bits(magnitude), 0x7FFFFFFF), self.mask(self.bits(sign), 1 << 31)
        return self.from_bits(self.writer.map(Op.BITWISE_OR, UINT32, *parts))
