"""From which tensors of a Hugging Face model a canonical tensor is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightSource:
    """A canonical tensor: the rows of `parts`, one after the other.

    `columns` is None for a vector, which is stored as float32 and never quantized. Each number is
    (theirs + offset) * scale.
    """

    name: str
    parts: tuple[str, ...]
    rows: int
    columns: int | None
    offset: float = 0.0
    scale: float = 1.0


def linear(name: str, parts: Sequence[str], rows: int, columns: int) -> WeightSource:
    """Return a matrix of `rows` output and `columns` input features."""
    return WeightSource(name, tuple(parts), rows, columns)


def vector(name: str, parts: Sequence[str], size: int, offset: float = 0.0) -> WeightSource:
    """Return a vector, as the gain of a norm is; `offset` is what the stored one lacks."""
    return WeightSource(name, tuple(parts), size, None, offset)
