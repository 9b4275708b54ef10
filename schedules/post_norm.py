"""A norm between a product and the residual that it is added to, as Gemma 2 has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PostNorm:
    """RMSNorm with this gain, float32 (N,), of a product's results."""

    gain: Any
    eps: float
