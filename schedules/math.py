"""Elementary functions as expressions that vectorize: no call into a math library.

The exponential is that of Cephes: 2**n times a polynomial of degree 6 on [-ln2/2, ln2/2]; its
relative error is below 2**-22. The hyperbolic tangent is Cephes' too, within 2**-21
(tests/schedules/test_math.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm.script import tirx as T

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
_COEFFICIENTS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_TANH_COEFFICIENTS = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)
_TANH_SMALL = 0.625
_GELU_LINEAR = 2 * math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715 * _GELU_LINEAR


def exp(x: Any) -> Any:
    """Return e**x for float32 x: at most 2**-125 below -87, about 2**127 above 88, NaN for NaN."""
    # In this order of operands NaN passes: a comparison with it is false and takes the second.
    x = T.max(T.float32(-87.0), T.min(T.float32(88.0), x))
    n = T.floor(x * T.float32(_LOG2_E) + T.float32(0.5))
    r = x - n * T.float32(_LN2_HIGH) - n * T.float32(_LN2_LOW)
    polynomial = T.float32(_COEFFICIENTS[0])
    for coefficient in _COEFFICIENTS[1:]:
        polynomial = polynomial * r + T.float32(coefficient)
    mantissa = polynomial * r * r + r + T.float32(1.0)
    exponent = T.shift_left(n.astype("int32") + 127, T.int32(23))
    return mantissa * T.reinterpret(exponent, dtype="float32")


def silu(x: Any) -> Any:
    """Return x / (1 + e**-x) for float32 x."""
    return x / (T.float32(1.0) + exp(T.float32(0.0) - x))


def gelu(x: Any, exp: Callable[[Any], Any] = exp) -> Any:
    """Return x * (1 + tanh(u)) / 2, u = sqrt(2 / pi) * (x + 0.044715 x^3), for float32 x.

    That is x / (1 + e**(-2 u)) (arXiv 1606.08415, the approximation).
    """
    doubled = x * (T.float32(_GELU_LINEAR) + T.float32(_GELU_CUBIC) * x * x)
    return x / (T.float32(1.0) + exp(T.float32(0.0) - doubled))


def tanh(x: Any, exp: Callable[[Any], Any] = exp) -> Any:
    """Return the hyperbolic tangent of float32 x by another e**x perhaps; NaN for NaN."""
    square = x * x
    polynomial = T.float32(_TANH_COEFFICIENTS[0])
    for coefficient in _TANH_COEFFICIENTS[1:]:
        polynomial = polynomial * square + T.float32(coefficient)
    small = polynomial * square * x + x
    large = T.float32(1.0) - T.float32(2.0) / (exp(x + x) + T.float32(1.0))
    return T.Select(square < T.float32(_TANH_SMALL**2), small, large)
