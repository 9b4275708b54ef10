"""What a row of the conformance table says: an operation, its types and lanes, its reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

Build = Callable[..., Any]
Reference = Callable[..., Any]


@dataclass(frozen=True)
class Operation:
    """One row: each of the types is tested with each of the lanes."""

    name: str
    build: Build
    reference: Reference
    types: tuple[str, ...]
    lanes: tuple[int, ...] = (1, 4)
    arity: int = 2
    domain: str = "any"  # see spirv_domains.py
    result: str = ""  # the type of the result where it is another
    ulps: float = 0
    absolute: float = 0


@dataclass(frozen=True)
class Case:
    """One operation with one type and number of lanes."""

    operation: Operation
    dtype: str
    lanes: int

    @property
    def name(self) -> str:
        """Return its name as a test."""
        return f"{self.operation.name}-{self.dtype}x{self.lanes}"

    @property
    def inputs(self) -> list[str]:
        """Return the types of its arguments."""
        return [self.dtype] * self.operation.arity

    @property
    def result(self) -> str:
        """Return the type of its result."""
        return self.operation.result or self.dtype

    @property
    def build(self) -> Build:
        """Return what makes its expression."""
        return self.operation.build

    @property
    def reference(self) -> Reference:
        """Return what numpy makes of it."""
        return self.operation.reference

    @property
    def domain(self) -> str:
        """Return the name of its arguments' domain."""
        return self.operation.domain

    @property
    def ulps(self) -> float:
        """Return the allowed error in units in the last place."""
        return self.operation.ulps

    @property
    def absolute(self) -> float:
        """Return the error that is allowed besides."""
        return self.operation.absolute


@dataclass(frozen=True)
class Cast:
    """A cast from one type to another."""

    dtype: str
    result: str
    lanes: int
    ulps = 0
    absolute = 0

    @property
    def name(self) -> str:
        """Return its name as a test."""
        return f"cast-{self.dtype}-{self.result}x{self.lanes}"

    @property
    def inputs(self) -> list[str]:
        """Return the types of its arguments."""
        return [self.dtype]

    @property
    def domain(self) -> str:
        """Return the domain: floats that fit where they become integers."""
        floats = self.dtype.startswith("float") and "int" in self.result
        unsigned = self.result in ("uint32", "uint64")
        return ("positive" if unsigned else "fits") if floats else "any"

    def build(self, value: Any) -> Any:
        """Return the expression."""
        return T.Cast(self.result, value)

    def reference(self, value: Any) -> Any:
        """Return what C makes of it: an integer of fewer bits is cut from an int32."""
        if value.dtype.kind == "f" and "int" in self.result:
            wide = "uint64" if self.result == "uint64" else "int64"
            return np.trunc(value).astype(wide).astype(self.result)
        return value.astype(self.result)
