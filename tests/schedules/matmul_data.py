"""Inputs and float64 results of one matmul case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ferrylm.schedules.cpu.layout import groups, padded
from ferrylm.schedules.cpu.rows import Rows
from tests import reference
from tests.schedules.cases import CAP, MatmulCase
from tests.schedules.packed_weights import canonical_weights, pack

Array = np.ndarray
GARBAGE = np.float32(1e30)


@dataclass(frozen=True)
class MatmulData:
    """Random weights and `count` rows of activations."""

    case: MatmulCase
    count: int
    seed: int = 0

    @cached_property
    def canonical(self) -> dict[str, Array]:
        """Return the weights as an artifact stores them."""
        case = self.case
        return canonical_weights(case.storage, case.minimum, case.rows, case.columns, self.seed)

    @cached_property
    def packed(self) -> dict[str, Array]:
        """Return the weights as the kernel takes them."""
        return pack(self.case.format, self.canonical)

    @cached_property
    def activations(self) -> list[Array]:
        """Return codes and terms, or float32 rows with garbage in the columns of padding."""
        generator = np.random.default_rng(self.seed + 1)
        case = self.case
        if case.arithmetic == "f32":
            x = np.full((self.count, padded(case.columns)), GARBAGE)
            x[:, : case.columns] = generator.standard_normal((self.count, case.columns))
            return [x]
        shape = (self.count, groups(case.columns), case.format.parts, 32)
        codes = generator.integers(-127, 128, shape).astype(np.int8)
        column = np.arange(groups(case.columns) * 32).reshape(-1, 1, 32)
        codes = np.where(column < case.columns, codes, np.int8(0)).reshape(*shape[:2], -1)
        return [codes, terms_of(codes, generator.random(shape[:2], np.float32) / 127)]

    @cached_property
    def residual(self) -> Array:
        """Return what the epilogue `residual` adds."""
        generator = np.random.default_rng(self.seed + 2)
        return generator.standard_normal((self.count, padded(self.case.rows)), np.float32)

    @property
    def bias(self) -> Array:
        """Return what the epilogue `bias` adds to every row."""
        return self.residual[0, : self.case.rows].copy()

    @property
    def width(self) -> int:
        """Return the columns of the kernel's output."""
        fmt = self.case.format
        return padded(fmt.rows) // (2 if fmt.pairs else 1)

    @property
    def outputs(self) -> int:
        """Return the columns of the output that mean something."""
        return self.case.rows // (2 if self.case.format.pairs else 1)

    def arguments(self, rows: Rows, first: int, count: int) -> list[Any]:
        """Return the inputs of a kernel that works on rows first ... first + count."""
        part = slice(first, first + count)
        added = {"residual": [self.residual[part]], "bias": [self.bias]}
        extra = added.get(self.case.epilogue, [])
        activations = [array[part] for array in self.activations]
        tiles = [count // rows.tile] if rows.count is None else []
        return [*tiles, *activations, *self.packed.values(), *extra]

    def expected(self) -> Array:
        """Return the result in float64."""
        case = self.case
        if case.arithmetic == "f32":
            x = self.activations[0][:, : case.columns]
        else:
            codes, terms = self.activations
            scaled = values_of(codes) * terms[:, :, :1].astype(np.float64)
            x = scaled.reshape(self.count, -1)[:, : case.columns]
        product = reference.matmul(x, self.canonical, case.columns)
        if case.epilogue == "residual":
            return product + self.residual[:, : case.rows]
        if case.epilogue == "bias":
            return product + self.bias
        if case.epilogue == "capped":
            return CAP * np.tanh(product / CAP)
        if case.format.pairs:
            return reference.gated(*np.split(product, 2, axis=1), case.epilogue)
        return product


def values_of(codes: Array) -> Array:
    """Return the whole numbers (M, G, 32) that codes (M, G, P * 32) stand for."""
    parts = codes.reshape(*codes.shape[:2], -1, 32).astype(np.int64)
    return parts[:, :, 0] if parts.shape[2] == 1 else 254 * parts[:, :, 0] + parts[:, :, 1]


def terms_of(codes: Array, scales: Array) -> Array:
    """Return float32 (M, G, 2): the scales, and the scales times the sums of the values."""
    sums = values_of(codes).sum(axis=-1).astype(np.float32)
    return np.stack([scales, scales * sums], axis=-1).astype(np.float32)
