from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat, groups, padded
from ferrylm.schedules.gpu.matvec import MatvecTile, Product, matvec
from ferrylm.schedules.gpu.tiles import ROW_TILE, matvec_tile
from tests import reference
from tests.numeric_gates import FP32, nmse
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.vulkan_runner import DOT, FLOAT, build, run
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
        return Product(rows, self.format, self.epilogue, eps, parts, gained)


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
CASES = [
    Case(*UGLY[epilogue], *fmt, epilogue)  # type: ignore[arg-type]
    for fmt in FORMATS
    for epilogue in UGLY
]
CASES += [
    Case(101, 100, "q4", False, "int16", "plain", normed=True),
    Case(136, 100, "q4", True, "int16", "swiglu", normed=True, prepared=True),
    Case(72, 720, "q8", False, "int16", "residual", prepared=True),
    Case(72, 720, "q4", False, "int8", "residual", prepared=True),
    Case(64, 1024, "q4", False, "int16", "plain", normed=True, tile=MatvecTile(4, 4, 2)),
    Case(64, 1024, "q4", True, "int16", "plain", tile=MatvecTile(4, 2, 1, 2, ahead=True)),
    Case(64, 1000, "q4", False, "int16", "plain", tile=MatvecTile(4, 2, 2, 2, ahead=True)),
    Case(64, 96, "f16", False, "f32", "plain", tile=MatvecTile(4, 4, 2)),
    Case(101, 100, "q4", True, "f32", "plain", lanes=True),
    Case(72, 108, "q4", False, "f32", "residual", lanes=True),
    Case(136, 100, "q8", False, "f32", "swiglu", lanes=True),
    Case(
        *(96, 1024, "q4", False, "int16", "residual"),
        prepared=True,
        tile=MatvecTile(16, 4, 2, 2, ahead=True),
    ),
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
        outputs = case.rows // 2 if case.epilogue == "swiglu" else case.rows
        self.outputs = outputs
        self.residual = data.random_rows(m, outputs, 2)
        self.gain = np.random.default_rng(3).standard_normal(outputs).astype(np.float32)

    def arguments(self, part: slice) -> list[Any]:
        """Return what the kernel reads."""
        found = [array[part] for array in self.activations] + data.weights(self.canonical)
        if self.case.epilogue == "residual":
            found.append(self.residual[part])
            if self.case.prepared:
                found.append(self.gain)
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
        if self.case.epilogue == "swiglu":
            return reference.swiglu(*np.split(product, 2, axis=1))
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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_of_every_format_keep_the_gate(case: Case) -> None:
    profile = replace(DOT if case.format.integer else FLOAT, rows_in_lanes=case.lanes)
    whole = Inputs(case, 2 * ROW_TILE)
    rows_of = {1: Rows(1, 1), 2: Rows(2, 2), None: Rows(ROW_TILE)}
    functions = {}
    for batch, rows in rows_of.items():
        product = case.product(rows)
        tile = case.tile or matvec_tile(profile, product)
        functions[f"batch_{batch}"] = matvec(
            product, tile, profile.subgroup, rows_in_lanes=case.lanes
        )
    built = build(functions)
    expected = whole.expected()
    for batch in rows_of:
        part = slice(0, batch or whole.m)
        m = batch or whole.m
        found = run(built[f"batch_{batch}"], whole.arguments(part), whole.results(m))
        if case.product(rows_of[batch]).kept:
            y = found[0]
            assert nmse(y[:, : whole.outputs], expected[part]) <= FP32.matmul_nmse, batch
            assert (y[:, whole.outputs :] == 0).all()
        if case.prepared:
            gain = whole.gain if case.epilogue == "residual" else np.ones(whole.outputs)
            check_codes(case, expected[part] * gain, found[-2], found[-1])
            squares = np.zeros((m, groups(whole.outputs) * 32))
            squares[:, : whole.outputs] = expected[part] ** 2
            wanted = squares.reshape(m, -1, 32).sum(axis=2)
            np.testing.assert_allclose(data.squares_of(found[-1]), wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("storage", ["q4", "q8"])
def test_codes_at_their_limits_neither_saturate_nor_wrap(storage: str) -> None:
    case = Case(8, 128, storage, False, "int16", "plain")
    inputs = Inputs(case, 1)
    inputs.canonical["codes"] = np.full_like(
        inputs.canonical["codes"], 0xFF if storage == "q4" else -128
    )
    inputs.canonical["scale"] = np.ones_like(inputs.canonical["scale"])
    values = np.full((1, 128), data.LARGEST[2])
    scales = np.ones((1, 4), np.float32)
    inputs.activations = [data.codes_of(values, 2), data.terms_of(values, scales, scales)]
    inputs.x = values.astype(np.float64)
    product = case.product(Rows(1, 1))
    built = build({"kernel": matvec(product, matvec_tile(DOT, product), DOT.subgroup)})
    found = run(built["kernel"], inputs.arguments(slice(0, 1)), inputs.results(1))[0]
    np.testing.assert_allclose(found[:, :8], inputs.expected(), rtol=1e-6)


def test_a_tile_whose_workgroup_has_no_whole_groups_is_refused() -> None:
    case = Case(72, 720, "q4", False, "int16", "residual", prepared=True)
    with pytest.raises(ValueError, match="whole groups"):
        matvec(case.product(Rows(1, 1)), MatvecTile(4, 2), 8)


def test_every_tile_of_the_tables_fits_narrow_and_wide_matrices() -> None:
    for width in (16, 32, 64):
        profile = replace(DOT, subgroup=width)
        for columns in (32, 896, 4096, 14336):
            for rows in (64, 4096, 28672, 128256):
                for prepared in (False, True):
                    case = Case(rows, columns, "q4", False, "int16", "residual", prepared=prepared)
                    for batch in (1, 8):
                        product = case.product(Rows(batch, batch))
                        tile = matvec_tile(profile, product)
                        assert tile.subgroups * width <= 1024
