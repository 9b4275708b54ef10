"""Errors for what a family's models may have and the schedules do not compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.errors import UnsupportedModelError


def refuse_biases(config: Mapping[str, Any], *keys: str) -> None:
    """Raise UnsupportedModelError where a configuration says yes to one of these biases."""
    if any(config.get(key) for key in keys):
        raise UnsupportedModelError(
            "biases in linear layers",
            wanted="none but those of q, k and v in Qwen2",
            fix="choose a model without biases",
        )
