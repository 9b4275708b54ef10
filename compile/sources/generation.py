"""Sampling settings of a model's maker, from JSON that a stranger may have written."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ferrylm.errors import SourceError
from ferrylm.runtime.manifest import GenerationDefaults

_MOST_TOP_K = 1 << 30


def generation_defaults(settings: Mapping[str, object], what: str) -> GenerationDefaults:
    """Read temperature, top_k, top_p, min_p and repetition_penalty; null counts as absent.

    A top_k below 1, which some makers write for "off", counts as absent too. Raises SourceError
    for a value of another type or out of range.
    """

    def number(key: str, most: float) -> float | None:
        value = settings.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _unwanted(what, key, value, "a number")
        if not (math.isfinite(value) and 0 <= value <= most):
            raise _unwanted(what, key, value, f"a number from 0 to {most}")
        return float(value)

    top_k = settings.get("top_k")
    if top_k is not None and (type(top_k) is not int or top_k > _MOST_TOP_K):
        raise _unwanted(what, "top_k", top_k, f"a whole number up to {_MOST_TOP_K}")
    return GenerationDefaults(
        temperature=number("temperature", 100),
        top_k=top_k if type(top_k) is int and top_k >= 1 else None,
        top_p=number("top_p", 1),
        min_p=number("min_p", 1),
        repetition_penalty=number("repetition_penalty", 100),
    )


def _unwanted(what: str, key: str, value: object, wanted: str) -> SourceError:
    return SourceError(
        f"{what}: {key} is {ascii(value)[:80]}",
        wanted=wanted,
        fix="correct the file, or take the value out",
    )
