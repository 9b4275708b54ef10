"""Typed access to the metadata of a GGUF file: each value is of the wanted type or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ferrylm.errors import SourceError

Value: TypeAlias = "bool | int | float | str | list[str] | NDArray[Any]"


@dataclass(frozen=True)
class Metadata:
    """Metadata by key. A getter without `default` raises SourceError if the key is absent."""

    values: Mapping[str, Value]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def integer(self, key: str, *, least: int, most: int, default: int | None = None) -> int:
        """Return a whole number between `least` and `most`."""
        value = self._value(key, default)
        if type(value) is not int or not least <= value <= most:
            raise _unwanted(key, value, f"a whole number from {least} to {most}")
        return value

    def optional_integer(self, key: str, *, least: int, most: int) -> int | None:
        """Return a whole number between `least` and `most`, or None if the key is absent."""
        return self.integer(key, least=least, most=most) if key in self.values else None

    def number(self, key: str, *, least: float, most: float, default: float | None = None) -> float:
        """Return a finite number between `least` and `most`."""
        value = self._value(key, default)
        if type(value) not in (int, float):
            raise _unwanted(key, value, "a number")
        number = float(value)  # type: ignore[arg-type]
        if not (math.isfinite(number) and least <= number <= most):
            raise _unwanted(key, value, f"a number from {least} to {most}")
        return number

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value."""
        value = self._value(key, default)
        if type(value) is not bool:
            raise _unwanted(key, value, "a truth value")
        return value

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text."""
        value = self._value(key, default)
        if type(value) is not str:
            raise _unwanted(key, value, "a text")
        return value

    def texts(self, key: str) -> list[str]:
        """Return an array of texts."""
        value = self._value(key, None)
        if type(value) is not list:
            raise _unwanted(key, value, "an array of texts")
        return value

    def integers(self, key: str) -> NDArray[np.int64]:
        """Return an array of whole numbers; unsigned 64-bit ones are refused."""
        value = self._value(key, None)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
            raise _unwanted(key, value, "an array of whole numbers")
        if value.dtype.kind == "u" and value.dtype.itemsize == 8:
            raise _unwanted(key, value, "an array of signed or 32-bit numbers")
        return value.astype(np.int64)

    def floats(self, key: str) -> NDArray[np.float64]:
        """Return an array of finite floating-point numbers."""
        value = self._value(key, None)
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise _unwanted(key, value, "an array of floating-point numbers")
        if not np.isfinite(value).all():
            raise _unwanted(key, value, "finite numbers")
        return value.astype(np.float64)

    def _value(self, key: str, default: Value | None) -> Value:
        if key in self.values:
            return self.values[key]
        if default is not None:
            return default
        raise SourceError(
            f"GGUF file without {key}",
            wanted="a complete model file",
            fix="convert the model again with a current llama.cpp",
        )


def _unwanted(key: str, value: Value, wanted: str) -> SourceError:
    shown = f"an array of {len(value)}" if isinstance(value, (list, np.ndarray)) else ascii(value)
    return SourceError(
        f"GGUF metadata {key} = {shown[:80]}", wanted=wanted, fix="fetch or convert the file again"
    )
