"""What the variants of attention do to scores and which tokens they see, as expressions.

`exp` is the target's e^x. For plain causal attention nothing is added to a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm.script import tirx as T

from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.math import tanh

Expression = Any
Exponential = Callable[[Expression], Expression]


def first_seen(position: Expression, variant: AttentionVariant) -> Expression:
    """Return the first token that a query sees, the int 0 where that is always the first one."""
    if variant.window_tokens is None:
        return 0
    return T.max(position - T.int32(variant.window_tokens - 1), T.int32(0))


def first_seen_in(unit: int, position: Expression, variant: AttentionVariant) -> Expression:
    """Return in which unit of that many tokens the first seen token is."""
    if variant.window_tokens is None:
        return 0
    return T.truncdiv(first_seen(position, variant), T.int32(unit))


def sees(token: Expression, position: Expression, variant: AttentionVariant) -> Expression:
    """Return whether the query at `position` sees a token."""
    if variant.window_tokens is None:
        return token <= position
    return T.And(token <= position, token > position - T.int32(variant.window_tokens))


def hides(token: Expression, position: Expression, variant: AttentionVariant) -> Expression:
    """Return whether the query at `position` does not see a token."""
    if variant.window_tokens is None:
        return token > position
    return T.Or(token > position, token <= position - T.int32(variant.window_tokens))


def adjusts(variant: AttentionVariant) -> bool:
    """Return whether scores are more than products of queries and keys."""
    return variant.soft_cap is not None or variant.alibi


def adjusted(
    score: Expression, distance: Expression, slope: Expression, cap: float | None, exp: Exponential
) -> Expression:
    """Return a score after soft-cap and ALiBi; `distance` is token - position, int32."""
    if cap is not None:
        score = T.float32(cap) * tanh(score * T.float32(1.0 / cap), exp)
    return score if slope is None else score + slope * T.cast(distance, "float32")


def alibi_slope(
    head: Expression, num_heads: int, variant: AttentionVariant, exp: Exponential
) -> Expression:
    """Return a head's slope (arXiv 2108.12409, and its authors' code for other numbers of heads).

    Of n = 2^k heads those are 2^(-8 / n), 2^(-16 / n), ...; further heads take every second one of
    2 n heads. None where a variant has no slopes.
    """
    if not variant.alibi:
        return None
    whole = 1 << (num_heads.bit_length() - 1)
    step = 8.0 * math.log(2) / whole
    place = T.cast(head + 1, "float32")
    if num_heads > whole:
        between = T.cast(head - whole, "float32") + T.float32(0.5)
        place = T.Select(head < whole, place, between)
    return exp(T.float32(-step) * place)
