"""Products of float16 activations on matrix units, run on the emulated chips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.halves import (
    CHUNK,
    SIDES,
    STEPS,
    HalvesLayout,
    expose_halves,
    halve,
)
from ferrylm.schedules.gpu.halves_grid import HalvesGrid, HalvesStreamTile, HalvesTile
from ferrylm.schedules.gpu.layout import GROUP, WeightFormat, groups, padded
from ferrylm.schedules.gpu.matmul_halves import halves_matmul
from ferrylm.schedules.gpu.matvec_grid import PAIRED, Product
from ferrylm.schedules.gpu.rounded_rows import UNIT, WORDS
from ferrylm.schedules.gpu.stream_halves import stream_halves
from ferrylm.schedules.gpu.tiles import halves_tile
from tests import reference
from tests.schedules.cases import CAP
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.cuda_runner import NEW, OLD, build, run
from tests.schedules.packed_weights import canonical_weights

Array = np.ndarray
EPS = 1e-5
FORMATS = (("q4", False), ("q4", True), ("q8", False))
SHAPES = {"plain": (101, 100), "residual": (72, 720), "bias": (101, 96)}
SHAPES |= {"swiglu": (280, 160), "geglu": (136, 100), "capped": (101, 100)}
# Activations and weights are off by up to 2^-11 of themselves each, either way: errors of a sum are
# 3e-4 of the root of its squares. Seven times that does not happen by chance.
OFF = 2e-3


def as_halves(x: Array, *, plain: bool = False) -> Array:
    """Return float32 rows (M, K) in HalvesLayout: uint32."""
    m, columns = x.shape
    layout, filled = HalvesLayout(columns, plain), -(-m // 8) * 8
    wide = np.zeros((filled, layout.chunks * CHUNK), np.float16)
    wide[:m, :columns] = (x * np.float32(UNIT)).astype(np.float16)
    wide[m:] = np.nan  # rows that fill up a tile mean nothing
    found = np.zeros((*layout.shape(m), 2), np.float16)
    for step in range(STEPS):
        for side in range(SIDES):
            for word in range(WORDS):
                for half in range(2):
                    part = wide[:, layout.column(step, side, word, half) :: CHUNK]
                    found[:, :, step, side, :, word, half] = part.reshape(
                        filled // 8, 8, layout.chunks
                    ).transpose(2, 0, 1)
    return found.view(np.uint32)[..., 0]


def as_rows(words: Array, columns: int, *, plain: bool = False) -> Array:
    """Return float64 (M, K) of HalvesLayout."""
    layout = HalvesLayout(columns, plain)
    chunks, tiles = words.shape[:2]
    halves = np.ascontiguousarray(words).view(np.float16).reshape(*words.shape, 2)
    found = np.zeros((tiles, 8, chunks, CHUNK))
    for step in range(STEPS):
        for side in range(SIDES):
            for word in range(WORDS):
                for half in range(2):
                    column = layout.column(step, side, word, half)
                    found[..., column] = halves[:, :, step, side, :, word, half].transpose(1, 2, 0)
    return found.reshape(tiles * 8, -1)[:, :columns] / UNIT


def expected_of(
    x: Array, canonical: dict[str, Array], epilogue: str, residual: Array
) -> tuple[Array, Array]:
    """Return float64 (M, outputs), and how far a result may be off."""
    weights = reference.dequantize(canonical, x.shape[1])
    product, allowed = x @ weights.T, OFF * np.sqrt(x**2 @ (weights**2).T)
    if epilogue == "residual":
        return product + residual[:, : product.shape[1]], allowed
    if epilogue == "capped":
        return CAP * np.tanh(product / CAP), allowed
    if epilogue == "bias":
        return product + residual[0, : product.shape[1]], allowed
    if epilogue == "plain":
        return product, allowed
    (gate, up), (gate_off, up_off) = np.split(product, 2, axis=1), np.split(allowed, 2, axis=1)
    # The slopes of silu and gelu are below 1.14; the result is rounded, too.
    found = reference.gated(gate, up, epilogue)
    return found, 1.14 * gate_off * np.abs(up) + np.abs(gate) * up_off + OFF * np.abs(found) + 1e-6


def added(epilogue: str, residual: Array, outputs: int) -> list[Array]:
    """Return what a product takes to add: the residual, or its first row as a bias."""
    return {"residual": [residual], "bias": [residual[0, :outputs].copy()]}.get(epilogue, [])


def check(built: Any, fmt: WeightFormat, epilogue: str, m: int) -> None:
    """Run a product on m rows and compare it with float64 of the same rounded activations."""
    rng = np.random.default_rng(m)
    x = rng.standard_normal((m, fmt.columns)).astype(np.float32)
    canonical = canonical_weights(fmt.storage, fmt.minimum, fmt.rows, fmt.columns)
    outputs = fmt.rows // 2 if epilogue in PAIRED else fmt.rows
    residual = data.random_rows(m, outputs, 2)
    plain = not fmt.grouped
    inputs = [as_halves(x, plain=plain), *data.weights(canonical)]
    inputs += added(epilogue, residual, outputs)
    shape: tuple[int, ...] = (m, padded(outputs))
    dtype = "float32"
    if epilogue in PAIRED:
        shape, dtype = HalvesLayout(outputs, plain).shape(m), "uint32"
    (found,) = run(built, inputs, [(shape, dtype)])
    expected, allowed = expected_of(x.astype(np.float64), canonical, epilogue, residual)
    if epilogue in PAIRED:
        rows = as_rows(found, outputs, plain=plain)[:m]
        assert (as_rows(found, found.shape[0] * CHUNK, plain=plain)[:m, outputs:] == 0).all()
    else:
        rows = found[:, :outputs]
        assert (found[:, outputs:] == 0).all()
    assert (np.abs(rows - expected) <= allowed).all()


@pytest.mark.parametrize("arch", ["75", "90a", "100"])
@pytest.mark.parametrize("epilogue", SHAPES)
def test_products_of_halves_are_right_to_their_rounding(arch: str, epilogue: str) -> None:
    profile = OLD if arch == "75" else NEW
    formats = [WeightFormat(*SHAPES[epilogue], *fmt, "int16") for fmt in FORMATS]
    functions = {
        # Every format with the tile of its few rows, the first with that of many.
        fmt.tag: halves_matmul(
            Product(Rows(8), fmt, epilogue, cap=CAP),
            halves_tile(profile, 4096 if fmt is formats[0] else fmt.rows),
            overlap=profile.overlap,
        )
        for fmt in formats
    }
    built = build(functions, arch=arch)
    for fmt in formats:
        # More rows than a workgroup has, and not a whole number of workgroups' rows.
        check(built[fmt.tag], fmt, epilogue, 136 if fmt is formats[0] else 16)


@pytest.mark.parametrize("epilogue", ["residual", "bias", "swiglu"])
@pytest.mark.parametrize("arch", ["80", "90a"])
def test_weights_that_are_not_quantized_are_right_to_the_same_rounding(
    arch: str, epilogue: str
) -> None:
    profile = OLD if arch == "80" else NEW
    fmt = WeightFormat(*SHAPES[epilogue], "f16", False, "f32")
    tile = halves_tile(profile, 4096)
    func = halves_matmul(Product(Rows(8), fmt, epilogue), tile, overlap=profile.overlap)
    check(build({"f": func}, arch=arch)["f"], fmt, epilogue, 136)


@pytest.mark.parametrize(("stages", "lead"), [(3, 2), (3, 1), (2, 1)])
def test_a_ring_that_goes_round_many_times_mixes_no_stages(stages: int, lead: int) -> None:
    fmt = WeightFormat(32, 2100, "q4", False, "int16")
    tile = HalvesTile(8, 8, stages, lead)
    product = Product(Rows(8), fmt, "plain")
    for arch in ("80", "90a"):
        built = build({"f": halves_matmul(product, tile, overlap=arch == "90a")}, arch=arch)
        check(built["f"], fmt, "plain", 72)


def test_groups_beyond_the_last_count_for_nothing() -> None:
    fmt = WeightFormat(32, 33, "q4", True, "int16")
    func = halves_matmul(Product(Rows(8), fmt, "plain"), halves_tile(OLD, fmt.rows))
    built = build({"f": func}, arch="80")
    assert groups(fmt.columns) == 2
    check(built["f"], fmt, "plain", 8)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("width", [100, 128, 352])
def test_rows_become_halves_with_a_norm_or_without_and_rows_again(width: int, plain: bool) -> None:
    m, layout = 24, HalvesLayout(width, plain)
    functions = {
        "plain": halve(Rows(8), layout, 32),
        "normed": halve(Rows(8, m), layout, 64, EPS),
        "exposed": expose_halves(Rows(8), layout, 256),
    }
    built = build(functions, arch="90a")
    x = np.full((m, padded(width)), data.GARBAGE)
    x[:, :width] = np.random.default_rng(1).standard_normal((m, width)) * 3
    gain = np.random.default_rng(2).uniform(0.5, 2, width).astype(np.float32)
    wide = x[:, :width].astype(np.float64)
    normed = wide / np.sqrt(np.mean(wide**2, axis=1, keepdims=True) + EPS) * gain
    shape = (layout.shape(m), "uint32")
    for name, inputs, wanted in (("plain", [x], wide), ("normed", [x, gain], normed)):
        (words,) = run(built[name], inputs, [shape])
        found = as_rows(words, width, plain=plain)
        np.testing.assert_allclose(found, wanted, rtol=2**-10.9, atol=1e-6)
        assert (as_rows(words, words.shape[0] * CHUNK, plain=plain)[:, width:] == 0).all()
        (rows,) = run(built["exposed"], [words], [((m, padded(width)), "float32")])
        np.testing.assert_array_equal(rows[:, :width], found)


def test_a_number_beyond_float16_becomes_infinite_and_not_some_other() -> None:
    built = build({"f": halve(Rows(8), HalvesLayout(32), 256)}, arch="90a")
    x = np.full((8, 32), 2e6, np.float32)
    x[:, 0] = 1e6
    (words,) = run(built["f"], [x], [(HalvesLayout(32).shape(8), "uint32")])
    found = as_rows(words, 32)
    assert np.isfinite(found[:, 0]).all()
    assert np.isinf(found[:, 1:]).all()


def test_outputs_of_a_swiglu_are_the_columns_of_a_side_of_a_step() -> None:
    fmt = WeightFormat(512, GROUP, "q4", False, "int16")
    grid = HalvesGrid(Product(Rows(8), fmt, "swiglu"), HalvesTile(8, 8, 3, 2))
    found = {
        int(grid.rows.output(grid.band(workgroup, thread), thread, 0))
        for workgroup in range(grid.workgroups)
        for thread in range(grid.threads)
    }
    assert found == set(range(256))


@pytest.mark.parametrize("epilogue", SHAPES)
def test_a_few_rows_at_a_time_give_the_same(epilogue: str) -> None:
    tiles = (HalvesStreamTile(4, 4, 1), HalvesStreamTile(4, 2, 2), HalvesStreamTile(2, 1, 1))
    formats = [WeightFormat(*SHAPES[epilogue], *fmt, "int16") for fmt in FORMATS]
    functions, rows = {}, (8, 16, 4)
    for fmt, tile, m in zip(formats, tiles, rows, strict=True):
        product = Product(Rows(min(m, 8), m), fmt, epilogue, cap=CAP)
        functions[fmt.tag] = stream_halves(product, tile, overlap=True)
    built = build(functions, arch="90a")
    for fmt, m in zip(formats, rows, strict=True):
        check(built[fmt.tag], fmt, epilogue, m)
