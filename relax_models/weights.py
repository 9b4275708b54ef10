"""From which tensors of a Hugging Face model a canonical tensor is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightSource:
    """A canonical tensor: the rows of `parts`, one after the other.

    `columns` is None for a vector, which is stored as float32 and never quantized.
    """

    name: str
    parts: tuple[str, ...]
    rows: int
    columns: int | None


def linear(name: str, parts: Sequence[str], rows: int, columns: int) -> WeightSource:
    """Return a matrix of `rows` output and `columns` input features."""
    return WeightSource(name, tuple(parts), rows, columns)


def vector(name: str, parts: Sequence[str], size: int) -> WeightSource:
    """Return a vector, as the gain of a norm is."""
    return WeightSource(name, tuple(parts), size, None)
