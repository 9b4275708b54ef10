from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import MATRIX_ROWS, groups
from ferrylm.schedules.gpu.matmul_matrix import matrix_matmul
from ferrylm.schedules.gpu.matrix_grid import MatrixTile
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.tiles import MATRIX_MANY, matrix_tile
from tests.numeric_gates import FP32, nmse
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.cuda_runner import build, run
from tests.schedules.gpu.product_cases import FORMATS, UGLY, Case, Inputs, check_codes

Array = np.ndarray
CASES = [
    Case(*UGLY[epilogue], *fmt, epilogue)  # type: ignore[arg-type]
    for fmt in (*(fmt for fmt in FORMATS if fmt[2] != "f32"), ("q8", False, "int8"))
    for epilogue in UGLY
]
CASES += [
    Case(101, 100, "q4", False, "int16", "plain", normed=True),
    Case(136, 100, "q4", True, "int16", "swiglu", normed=True, prepared=True),
    Case(72, 720, "q8", False, "int16", "residual", prepared=True),
    Case(72, 720, "q4", False, "int8", "residual", prepared=True),
]
# A decode step, and a chunk of prefill: a workgroup's rows and a part of another's.
STEP, CHUNK = (Rows(8, 8), 8), (Rows(8), 24)


def tiled(words: Array) -> Array:
    """Return codes (M, 2P, G, 4) or terms (M, G, 4) as matrix units want them."""
    m = len(words)
    tiles = words.reshape(m // MATRIX_ROWS, MATRIX_ROWS, *words.shape[1:])
    axes = (0, 3, 1, 4, 2) if words.ndim == 4 else (0, 2, 1, 3)
    return np.ascontiguousarray(tiles.transpose(axes))


def untiled(words: Array) -> Array:
    """Undo `tiled`."""
    axes = (0, 2, 4, 1, 3) if words.ndim == 5 else (0, 2, 1, 3)
    found = np.ascontiguousarray(words.transpose(axes))
    return found.reshape(-1, *found.shape[2:])


def product_of(case: Case, rows: Rows) -> Product:
    return replace(case.product(rows), tiled=True)


def check(case: Case, built: Any, m: int) -> None:
    """Run a product on m rows and compare it with float64."""
    inputs = Inputs(case, m)
    expected = inputs.expected()
    inputs.activations = [tiled(words) for words in inputs.activations]
    results = [
        (tiled(np.empty(shape, np.uint32)).shape, dtype) if dtype == "uint32" else (shape, dtype)
        for shape, dtype in inputs.results(m)
    ]
    found = run(built, inputs.arguments(slice(None)), results)
    if product_of(case, Rows(8)).kept:
        assert nmse(found[0][:, : inputs.outputs], expected) <= FP32.matmul_nmse
        assert (found[0][:, inputs.outputs :] == 0).all()
    if case.prepared:
        codes, terms = untiled(found[-2]), untiled(found[-1])
        gain = inputs.gain if case.epilogue == "residual" else np.ones(inputs.outputs)
        check_codes(case, expected * gain, codes, terms)
        squares = np.zeros((m, groups(inputs.outputs) * 32))
        squares[:, : inputs.outputs] = expected**2
        wanted = squares.reshape(m, -1, 32).sum(axis=2)
        np.testing.assert_allclose(data.squares_of(terms), wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_on_matrix_units_keep_the_gate(case: Case) -> None:
    kinds = {"plain": [CHUNK], "residual": [STEP, CHUNK], "swiglu": [STEP]}[case.epilogue]
    if case.prepared:
        kinds = [STEP, CHUNK, (Rows(8, 16), 16)]
    functions = {}
    for rows, m in kinds:
        product = product_of(case, rows)
        tile, overlap = matrix_tile(product), rows.count is not None
        functions[f"rows_{m}"] = matrix_matmul(product, tile, overlap=overlap)
    built = build(functions)
    for _, m in kinds:
        check(case, built[f"rows_{m}"], m)


@pytest.mark.parametrize(
    ("arch", "tile"),
    [
        ("75", MatrixTile(1, 1, 2, 1)),
        ("75", MATRIX_MANY),
        ("80", MatrixTile(4, 2, 2, 4)),
        ("80", MatrixTile(8, 4, 4, 1)),
    ],
    ids=str,
)
def test_older_chips_and_other_tiles_give_the_same_product(arch: str, tile: MatrixTile) -> None:
    case = Case(101, 300, "q4", True, "int16", "plain", normed=True)
    built = build({"product": matrix_matmul(product_of(case, Rows(8)), tile)}, arch)
    check(case, built["product"], 40)


def test_what_is_not_finite_reaches_its_own_row_alone() -> None:
    case = Case(40, 100, "q4", False, "int16", "plain")
    product = product_of(case, Rows(8))
    built = build({"product": matrix_matmul(product, matrix_tile(product))})
    inputs = Inputs(case, 16)
    inputs.activations[1][9, 2, 0] = np.float32(np.nan).view(np.uint32)
    inputs.activations = [tiled(words) for words in inputs.activations]
    y = run(built["product"], inputs.arguments(slice(None)), inputs.results(16))[0]
    assert np.isnan(y[9, :40]).all()
    assert np.isfinite(np.delete(y, 9, axis=0)).all()
