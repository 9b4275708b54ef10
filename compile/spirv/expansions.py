"""Functions that Vulkan lacks, or promises too little precision for, in terms of those it has.

Vulkan leaves sine to an absolute error of 2**-11 on [-pi, pi] and arc tangent to 4096 units in the
last place (Vulkan specification, appendix A, Precision of Individual Operations). The functions
here are within a few units in the last place of exp, log and the basic operations, of which
Vulkan asks more. Tests hold them to the errors that are stated here.
"""

from __future__ import annotations

import math

from ferrylm.compile.spirv import arithmetic
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Glsl, Op
from ferrylm.compile.spirv.reals import Reals
from ferrylm.compile.spirv.values import BOOL, FLOAT32, INT32, UINT32, Value
from ferrylm.compile.spirv.writer import Writer

_TANH = (-1 / 3, 2 / 15, -17 / 315, 62 / 2835, -1382 / 155925)
# Complementary error function: Abramowitz and Stegun, 7.1.26, to 1.5e-7.
_ERFC = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERFC_P = 0.3275911
_ERF = tuple(
    2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(12)
)
_AREA_TANGENT = tuple(1 / (2 * n + 1) for n in range(7))
_LARGE = 1e9  # where 1 + x * x is x * x in float32


def _halves_of_exponential(r: Reals, x: Value) -> tuple[Value, Value]:
    """Return exp(x) / 2 and exp(-x) / 2 without overflow before the results overflow."""
    root = r.apply(Glsl.EXP, r.mul(x, 0.5))
    return r.mul(r.mul(root, 0.5), root), r.div(r.div(0.5, root), root)


def hyperbolic_sine(writer: Writer, x: Value) -> Value:
    """Return sinh x."""
    r = Reals(writer, x)
    magnitude = r.apply(Glsl.F_ABS, x)
    square = r.mul(x, x)
    near = r.fma(r.mul(square, x), r.polynomial(square, (1 / 6, 1 / 120, 1 / 5040, 1 / 362880)), x)
    far = r.with_sign(r.sub(*_halves_of_exponential(r, magnitude)), x)
    return r.select(r.compare("lt", magnitude, 1.0), near, far)


def hyperbolic_cosine(writer: Writer, x: Value) -> Value:
    """Return cosh x."""
    r = Reals(writer, x)
    return r.add(*_halves_of_exponential(r, r.apply(Glsl.F_ABS, x)))


def hyperbolic_tangent(writer: Writer, x: Value) -> Value:
    """Return tanh x: a series near 0, elsewhere (1 - t) / (1 + t) with t = exp(-2 |x|)."""
    r = Reals(writer, x)
    magnitude, square = r.apply(Glsl.F_ABS, x), r.mul(x, x)
    near = r.fma(r.mul(square, x), r.polynomial(square, _TANH), x)
    t = r.apply(Glsl.EXP, r.mul(magnitude, -2.0))
    far = r.with_sign(r.div(r.sub(1.0, t), r.add(1.0, t)), x)
    return r.select(r.compare("lt", magnitude, 0.3), near, far)


def area_sine(writer: Writer, x: Value) -> Value:
    """Return asinh x."""
    r = Reals(writer, x)
    magnitude = r.apply(Glsl.F_ABS, x)
    square = r.mul(x, x)
    root = r.apply(Glsl.SQRT, r.add(1.0, square))
    near = logarithm_of_one_plus(writer, r.add(magnitude, r.div(square, r.add(1.0, root))))
    far = r.add(r.apply(Glsl.LOG, magnitude), math.log(2))
    return r.with_sign(r.select(r.compare("gt", magnitude, _LARGE), far, near), x)


def area_cosine(writer: Writer, x: Value) -> Value:
    """Return acosh x; NaN below 1."""
    r = Reals(writer, x)
    above = r.sub(x, 1.0)
    root = r.apply(Glsl.SQRT, r.mul(above, r.add(above, 2.0)))
    near = logarithm_of_one_plus(writer, r.add(above, root))
    far = r.add(r.apply(Glsl.LOG, x), math.log(2))
    found = r.select(r.compare("gt", x, _LARGE), far, near)
    return r.select(r.compare("lt", x, 1.0), math.nan, found)


def area_tangent(writer: Writer, x: Value) -> Value:
    """Return atanh x; NaN beyond 1."""
    r = Reals(writer, x)
    magnitude = r.apply(Glsl.F_ABS, x)
    ratio = r.div(r.mul(2.0, magnitude), r.sub(1.0, magnitude))
    found = r.with_sign(r.mul(0.5, logarithm_of_one_plus(writer, ratio)), x)
    return r.select(r.compare("gt", magnitude, 1.0), math.nan, found)


def exponential10(writer: Writer, x: Value) -> Value:
    """Return 10 to the power of x."""
    r = Reals(writer, x)
    return r.apply(Glsl.EXP2, r.mul(x, math.log2(10)))


def logarithm10(writer: Writer, x: Value) -> Value:
    """Return the decimal logarithm."""
    r = Reals(writer, x)
    return r.mul(r.apply(Glsl.LOG2, x), math.log10(2))


def logarithm_of_one_plus(writer: Writer, x: Value) -> Value:
    """Return log(1 + x): near 0, where log is coarse, the series of 2 atanh(x / (2 + x))."""
    r = Reals(writer, x)
    ratio = r.div(x, r.add(x, 2.0))
    square = r.mul(ratio, ratio)
    near = r.mul(r.mul(2.0, ratio), r.polynomial(square, _AREA_TANGENT))
    inside = r.both(r.compare("gt", x, -0.3), r.compare("lt", x, 0.45))
    return r.select(inside, near, r.apply(Glsl.LOG, r.add(1.0, x)))


def power(writer: Writer, x: Value, y: Value) -> Value:
    """Return x to the power of y as C's pow; relative error 1e-7 times |y log2 x|."""
    r = Reals(writer, x)
    base = r.apply(Glsl.F_ABS, x)
    positive = r.apply(Glsl.EXP2, r.mul(y, r.apply(Glsl.LOG2, base)))
    at_zero = r.select(r.compare("gt", y, 0.0), 0.0, math.inf)
    found = r.select(r.compare("eq", base, 0.0), at_zero, positive)
    half = r.mul(y, 0.5)
    whole = r.compare("eq", r.apply(Glsl.TRUNC, y), y)
    odd = r.both(whole, r.compare("ne", r.apply(Glsl.TRUNC, half), half))
    negative = arithmetic.compare(writer, "lt", r.bits(x).typed(INT32), r.integer(0))
    found = r.select(r.both(negative, odd), r.neg(found), found)
    bad = r.both(r.compare("lt", x, 0.0), arithmetic.invert(writer, whole))
    found = r.select(bad, math.nan, found)
    one = writer.map(Op.LOGICAL_OR, BOOL, r.compare("eq", y, 0.0), r.compare("eq", x, 1.0))
    return r.select(one, 1.0, found)


def error_function(writer: Writer, x: Value) -> Value:
    """Return erf x: its series to |x| = 1, beyond that one less the complement; error 3e-7."""
    r = Reals(writer, x)
    magnitude, square = r.apply(Glsl.F_ABS, x), r.mul(x, x)
    near = r.mul(x, r.polynomial(square, _ERF))
    t = r.div(1.0, r.fma(magnitude, _ERFC_P, 1.0))
    complement = r.mul(r.mul(t, r.polynomial(t, _ERFC)), r.apply(Glsl.EXP, r.neg(square)))
    far = r.with_sign(r.sub(1.0, complement), x)
    return r.select(r.compare("lt", magnitude, 1.0), near, far)


def sigmoid(writer: Writer, x: Value) -> Value:
    """Return 1 / (1 + exp(-x))."""
    r = Reals(writer, x)
    return r.div(1.0, r.add(1.0, r.apply(Glsl.EXP, r.neg(x))))


def hypotenuse(writer: Writer, x: Value, y: Value) -> Value:
    """Return the length of (x, y) without overflow on the way."""
    r = Reals(writer, x)
    a, b = r.apply(Glsl.F_ABS, x), r.apply(Glsl.F_ABS, y)
    first = r.compare("gt", a, b)
    larger, smaller = r.select(first, a, b), r.select(first, b, a)
    ratio = r.div(smaller, larger)
    length = r.mul(larger, r.apply(Glsl.SQRT, r.fma(ratio, ratio, 1.0)))
    plain = writer.map(
        Op.LOGICAL_OR, BOOL, r.compare("eq", larger, 0.0), r.compare("eq", larger, math.inf)
    )
    return r.select(plain, larger, length)


def scaled_by_power(writer: Writer, x: Value, exponent: Value) -> Value:
    """Return x times 2 to the power of an integer between -252 and 254, by two exact factors."""
    r = Reals(writer, x)
    exponent = cast(writer, exponent, INT32)
    half = arithmetic.binary(writer, "shift_right", exponent, r.integer(1))
    rest = arithmetic.binary(writer, "sub", exponent, half)
    for each in (half, rest):
        low = arithmetic.extreme(writer, "max", each, r.integer(-126))
        biased = arithmetic.binary(
            writer, "add", arithmetic.extreme(writer, "min", low, r.integer(127)), r.integer(127)
        )
        x = r.mul(x, r.from_bits(arithmetic.binary(writer, "shift_left", biased, r.integer(23))))
    return x


def absolute(writer: Writer, x: Value) -> Value:
    """Return |x|."""
    return writer.map_glsl(Glsl.F_ABS, x.scalar, x)


def round_away(writer: Writer, x: Value) -> Value:
    """Return the nearest integer, of two the one farther from 0, as C's round."""
    r = Reals(writer, x)
    cut = r.apply(Glsl.TRUNC, x)
    far = r.compare("ge", r.apply(Glsl.F_ABS, r.sub(x, cut)), 0.5)
    step = r.select(r.compare("lt", x, 0.0), -1.0, 1.0)
    return r.select(far, r.add(cut, step), cut)


def remainder(writer: Writer, x: Value, y: Value) -> Value:
    """Return x - y * trunc(x / y), as C's fmod; exact where the quotient is below 2**22."""
    r = Reals(writer, x)
    size = r.apply(Glsl.F_ABS, y)
    magnitude = r.apply(Glsl.F_ABS, x)
    quotient = r.apply(Glsl.TRUNC, r.div(magnitude, size))
    rest = r.fma(r.neg(quotient), size, magnitude)
    # The quotient was rounded, so it may be one too many or one too few.
    rest = r.select(r.compare("lt", rest, 0.0), r.add(rest, size), rest)
    rest = r.select(r.compare("ge", rest, size), r.sub(rest, size), rest)
    rest = r.select(r.compare("lt", magnitude, size), magnitude, rest)
    negative = r.compare("lt", x, 0.0)
    return r.select(negative, r.neg(rest), rest)


def copy_sign(writer: Writer, x: Value, y: Value) -> Value:
    """Return |x| with the sign of y."""
    if x.scalar.bits == 64:
        writer.refuse("copysign of float64", "float32")
    wide = [cast(writer, each, FLOAT32) for each in (x, y)]
    return cast(writer, Reals(writer, wide[0]).with_sign(*wide), x.scalar)


def _exponent_is_full(writer: Writer, x: Value, name: str) -> Value:
    """Compare the bits of |x| with those of infinity: drivers may assume that no NaN occurs."""
    wide = cast(writer, x, FLOAT32)
    r = Reals(writer, wide)
    limit = writer.constant(UINT32, 0x7F800000, x.lanes)
    return arithmetic.compare(writer, name, r.mask(r.bits(wide), 0x7FFFFFFF), limit)


def is_nan(writer: Writer, x: Value) -> Value:
    """Return whether x is no number."""
    if x.scalar.bits == 64:
        return writer.map(Op.IS_NAN, BOOL, x)
    return _exponent_is_full(writer, x, "gt")


def is_infinite(writer: Writer, x: Value) -> Value:
    """Return whether x is an infinity."""
    if x.scalar.bits == 64:
        return writer.map(Op.IS_INF, BOOL, x)
    return _exponent_is_full(writer, x, "eq")


def is_finite(writer: Writer, x: Value) -> Value:
    """Return whether x is a number and no infinity."""
    if x.scalar.bits == 64:
        either = writer.map(Op.LOGICAL_OR, BOOL, is_nan(writer, x), is_infinite(writer, x))
        return arithmetic.invert(writer, either)
    return _exponent_is_full(writer, x, "lt")
