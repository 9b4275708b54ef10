"""Circular functions and their inverses, which Vulkan promises too coarsely; see expansions.py."""

from __future__ import annotations

import math

from ferrylm.compile.spirv import arithmetic
from ferrylm.compile.spirv.enumerants import Glsl, Op
from ferrylm.compile.spirv.reals import Reals
from ferrylm.compile.spirv.values import FLOAT32, INT32, Value
from ferrylm.compile.spirv.writer import Writer

_SINE = (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880)
_COSINE = (1 / 24, -1 / 720, 1 / 40320, -1 / 3628800)
# pi / 2 in parts whose products with small integers are exact.
_HALF_PI = (1.5703125, 4.837512969970703125e-4, 7.54978995489188216e-8)
# Arc tangent on [-tan(pi/8), tan(pi/8)]: x + x**3 * P(x**2). S. Moshier, Cephes, atanf.
_ARC_TANGENT = (-3.33329491539e-1, 1.99777106478e-1, -1.38776856032e-1, 8.05374449538e-2)


def _quarters(r: Reals, x: Value) -> tuple[Value, Value]:
    """Return x less the nearest multiple of pi / 2, and that multiple; |x| at most 1e5."""
    count = r.apply(Glsl.ROUND_EVEN, r.mul(x, 2 / math.pi))
    rest = x
    for part in _HALF_PI:
        rest = r.fma(count, -part, rest)
    return rest, r.writer.map(Op.CONVERT_F_TO_S, INT32, count)


def _circular(writer: Writer, x: Value, ahead: int) -> Value:
    r = Reals(writer, x)
    rest, quarter = _quarters(r, x)
    if ahead:
        quarter = arithmetic.binary(writer, "add", quarter, r.integer(ahead))
    square = r.mul(rest, rest)
    sine_tail = r.mul(r.mul(square, rest), r.polynomial(square, _SINE))
    sine_part = r.add(rest, sine_tail)
    cosine_tail = r.mul(r.mul(square, square), r.polynomial(square, _COSINE))
    cosine_part = r.add(r.fma(square, -0.5, 1.0), cosine_tail)
    zero = r.integer(0)

    def bit(number: int) -> Value:
        found = arithmetic.binary(writer, "and", quarter, r.integer(number))
        return arithmetic.compare(writer, "ne", found, zero)

    found = r.select(bit(1), cosine_part, sine_part)
    return r.select(bit(2), r.neg(found), found)


def sine(writer: Writer, x: Value) -> Value:
    """Return sin x; error 2e-7 for |x| up to 1e5."""
    return _circular(writer, x, 0)


def cosine(writer: Writer, x: Value) -> Value:
    """Return cos x; error 2e-7 for |x| up to 1e5."""
    return _circular(writer, x, 1)


def tangent(writer: Writer, x: Value) -> Value:
    """Return tan x."""
    return Reals(writer, x).div(sine(writer, x), cosine(writer, x))


def _arc_tangent_below_one(r: Reals, x: Value) -> Value:
    far = r.compare("gt", x, math.tan(math.pi / 8))
    reduced = r.select(far, r.div(r.sub(x, 1.0), r.add(x, 1.0)), x)
    square = r.mul(reduced, reduced)
    tail = r.mul(r.mul(square, reduced), r.polynomial(square, _ARC_TANGENT))
    return r.add(r.select(far, math.pi / 4, 0.0), r.add(reduced, tail))


def arc_tangent(writer: Writer, x: Value) -> Value:
    """Return atan x; relative error 4e-7."""
    return arc_tangent2(writer, x, writer.constant(FLOAT32, 1, x.lanes))


def arc_tangent2(writer: Writer, y: Value, x: Value) -> Value:
    """Return the angle of the point (x, y), as C's atan2 but for NaN with infinities."""
    r = Reals(writer, x)
    width, height = r.apply(Glsl.F_ABS, x), r.apply(Glsl.F_ABS, y)
    steep = r.compare("gt", height, width)
    larger, smaller = r.select(steep, height, width), r.select(steep, width, height)
    ratio = r.select(r.compare("eq", smaller, larger), 1.0, r.div(smaller, larger))
    ratio = r.select(r.compare("eq", larger, 0.0), 0.0, ratio)
    angle = _arc_tangent_below_one(r, ratio)
    angle = r.select(steep, r.sub(math.pi / 2, angle), angle)
    behind = arithmetic.compare(writer, "lt", r.bits(x).typed(INT32), r.integer(0))
    return r.with_sign(r.select(behind, r.sub(math.pi, angle), angle), y)


def _other_leg(r: Reals, x: Value) -> Value:
    square = r.mul(r.sub(1.0, x), r.add(1.0, x))
    outside = r.compare("lt", square, 0.0)
    return r.select(outside, math.nan, r.apply(Glsl.SQRT, square))


def arc_sine(writer: Writer, x: Value) -> Value:
    """Return asin x; NaN beyond 1."""
    return arc_tangent2(writer, x, _other_leg(Reals(writer, x), x))


def arc_cosine(writer: Writer, x: Value) -> Value:
    """Return acos x; NaN beyond 1."""
    return arc_tangent2(writer, _other_leg(Reals(writer, x), x), x)
