"""Products of weights, quantized or plain, with rows of activations; results in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat, groups, padded
from ferrylm.schedules.gpu.matvec import MatvecTile, Product
from tests import reference
from tests.schedules.cases import CAP
from tests.schedules.gpu import gpu_data as data
from tests.schedules.packed_weights import canonical_weights

EPS = 1e-5


@dataclass(frozen=True)
class Case:
    """A matrix, what its activations are, and what becomes of the result."""

    rows: int
    columns: int
    storage: str
    minimum: bool
    arithmetic: str
    epilogue: str
    normed: bool = False
    prepared: bool = False
    tile: MatvecTile | None = None
    lanes: bool = False  # each has rows of its own

    def __str__(self) -> str:
        tags = [self.storage + "m" * self.minimum, self.arithmetic, self.epilogue]
        tags += ["normed"] * self.normed + ["prepared"] * self.prepared + ["lanes"] * self.lanes
        if self.tile is not None:
            tile = self.tile
            tags.append(f"tile{tile.subgroups}.{tile.rows}.{tile.split}.{tile.unroll}.{tile.ahead}")
        return "-".join([*tags, f"{self.rows}x{self.columns}"])

    @property
    def format(self) -> WeightFormat:
        """Return the format the kernel is made for."""
        return WeightFormat(self.rows, self.columns, self.storage, self.minimum, self.arithmetic)

    def product(self, rows: Rows) -> Product:
        """Return the product of this case with these rows."""
        parts = self.format.parts if self.prepared else 0
        gained = self.prepared and self.epilogue == "residual"
        eps = EPS if self.normed else None
        return Product(rows, self.format, self.epilogue, eps, parts, gained, cap=CAP)


UGLY = {"plain": (101, 100), "residual": (72, 720), "swiglu": (136, 100)}
FORMATS = [
    ("q4", False, "int16"),
    ("q4", True, "int16"),
    ("q8", False, "int16"),
    ("q4", False, "int8"),
    ("q4", False, "f32"),
    ("q4", True, "f32"),
    ("q8", False, "f32"),
    ("f16", False, "f32"),
    ("f32", False, "f32"),
]


class Inputs:
    """Random inputs of a case for m rows, and the result in float64."""

    def __init__(self, case: Case, m: int) -> None:
        self.case, self.m = case, m
        self.canonical = canonical_weights(case.storage, case.minimum, case.rows, case.columns)
        fmt = case.format
        if fmt.integer:
            self.activations = list(data.random_activations(m, case.columns, fmt.parts, 1))
            self.x = data.scaled(*self.activations)[:, : case.columns]
        else:
            self.activations = [data.zero_rows(m, case.columns, 1)]
            self.x = self.activations[0][:, : case.columns].astype(np.float64)
        outputs = case.product(Rows(1, 1)).outputs
        self.outputs = outputs
        self.residual = data.random_rows(m, outputs, 2)
        self.gain = np.random.default_rng(3).standard_normal(outputs).astype(np.float32)

    @property
    def bias(self) -> np.ndarray:
        """Return what the epilogue `bias` adds to every row."""
        return self.residual[0, : self.outputs].copy()

    def arguments(self, part: slice) -> list[Any]:
        """Return what the kernel reads."""
        found = [array[part] for array in self.activations] + data.weights(self.canonical)
        if self.case.epilogue == "residual":
            found.append(self.residual[part])
            if self.case.prepared:
                found.append(self.gain)
        if self.case.epilogue == "bias":
            found.append(self.bias)
        return found

    def results(self, m: int) -> list[tuple[tuple[int, ...], str]]:
        """Return shapes and dtypes of what the kernel writes."""
        product, g = self.case.product(Rows(1, 1)), groups(self.outputs)
        found: list[tuple[tuple[int, ...], str]] = []
        if product.kept:
            found.append(((m, padded(self.outputs)), "float32"))
        if product.parts:
            found += [((m, 2 * product.parts, g, 4), "uint32"), ((m, g, 4), "uint32")]
        return found

    def expected(self) -> np.ndarray:
        """Return float64 (m, outputs)."""
        product = reference.matmul(self.x, self.canonical, self.case.columns)
        if self.case.normed:
            squares = data.squares_of(self.activations[1]).sum(axis=1, keepdims=True)
            product = product / np.sqrt(squares / self.case.columns + EPS)
        if self.case.epilogue == "residual":
            return product + self.residual[:, : self.outputs]
        if self.case.epilogue == "bias":
            return product + self.bias
        if self.case.epilogue == "capped":
            return CAP * np.tanh(product / CAP)
        if self.case.product(Rows(1, 1)).pairs:
            return reference.gated(*np.split(product, 2, axis=1), self.case.epilogue)
        return product


def check_codes(case: Case, expected: np.ndarray, codes: np.ndarray, terms: np.ndarray) -> None:
    """Check what a prepared product stored of its float64 results."""
    m, outputs = expected.shape
    g, parts = groups(outputs), case.format.parts
    wide = np.zeros((m, g * 32))
    wide[:, :outputs] = expected
    values = data.values_of(codes)
    assert np.abs(values).max() <= data.LARGEST[parts]
    np.testing.assert_array_equal(values.reshape(m, g, 32).sum(axis=2), data.sums_of(terms))
    assert (values[:, outputs:] == 0).all()
    # A code is half a step off at most; the float32 result that is rounded adds a little to that.
    step = np.repeat(np.abs(wide.reshape(m, g, 32)).max(axis=2) / data.LARGEST[parts], 32, axis=1)
    noise = 2e-5 * np.abs(wide).max()
    assert (np.abs(data.scaled(codes, terms) - wide) <= 0.51 * step + noise).all()
