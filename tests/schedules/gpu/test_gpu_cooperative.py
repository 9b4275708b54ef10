"""Products on cooperative matrices: layouts, grids, and results beside float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.cooperative_grid import CooperativeGrid, CooperativeTile
from ferrylm.schedules.gpu.cooperative_rows import CooperativeRows, cooperative_rows, expose_rows
from ferrylm.schedules.gpu.cooperative_tiles import TILES, cooperative_tile
from ferrylm.schedules.gpu.layout import WeightFormat, padded
from ferrylm.schedules.gpu.matmul_cooperative import cooperative_matmul
from ferrylm.schedules.gpu.matvec_grid import PAIRED, Product
from ferrylm.schedules.gpu.profile import GpuProfile
from tests.schedules.cases import CAP
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.cooperative_runner import SHAPE, as_rows, as_words, build
from tests.schedules.gpu.test_gpu_halves import EPS, FORMATS, SHAPES, added, expected_of
from tests.schedules.gpu.vulkan_runner import run
from tests.schedules.packed_weights import canonical_weights

Array = np.ndarray
# Small: the compiler of a CPU that plays GPU takes long for many tiles.
TWO_STAGES = CooperativeTile(2, 1, 1, 8, 32, 2)
WIDE = CooperativeTile(1, 2, 2, 8, 64, 1)


def product(fmt: WeightFormat, epilogue: str) -> Product:
    return Product(Rows(8), fmt, epilogue, cap=CAP)


def multiply(fmt: WeightFormat, epilogue: str, tile: CooperativeTile) -> Any:
    return cooperative_matmul(product(fmt, epilogue), tile, 8, SHAPE)


def check(built: Any, fmt: WeightFormat, epilogue: str, m: int, runner: Any = run) -> None:
    """Run a product on m rows and compare it with float64 of the same rounded activations."""
    x = np.random.default_rng(m).standard_normal((m, fmt.columns)).astype(np.float32)
    canonical = canonical_weights(fmt.storage, fmt.minimum, fmt.rows, fmt.columns)
    outputs = fmt.rows // 2 if epilogue in PAIRED else fmt.rows
    residual = data.random_rows(m, outputs, 2)
    inputs = [as_words(x), *data.weights(canonical)]
    inputs += added(epilogue, residual, outputs)
    shape, dtype = (m, padded(outputs)), "float32"
    if epilogue in PAIRED:
        shape, dtype = CooperativeRows(outputs).shape(m), "uint32"
    (found,) = runner(built, inputs, [(shape, dtype)])
    expected, allowed = expected_of(x.astype(np.float64), canonical, epilogue, residual)
    rows = as_rows(found) if epilogue in PAIRED else found
    assert (rows[:, outputs:] == 0).all()
    assert (np.abs(rows[:, :outputs] - expected) <= allowed).all()


@pytest.mark.parametrize("epilogue", SHAPES)
def test_products_on_cooperative_matrices_are_right_to_their_rounding(epilogue: str) -> None:
    formats = [WeightFormat(*SHAPES[epilogue], *fmt, "int16") for fmt in FORMATS]
    tiles = (TWO_STAGES, WIDE, TWO_STAGES)
    functions = {
        fmt.tag: multiply(fmt, epilogue, tile) for fmt, tile in zip(formats, tiles, strict=True)
    }
    built = build(functions)
    for fmt in formats:
        # Fewer rows than a workgroup has, and not a whole number of workgroups' rows.
        check(built[fmt.tag], fmt, epilogue, 8)
        check(built[fmt.tag], fmt, epilogue, 40)


@pytest.mark.parametrize("tile", [TWO_STAGES, WIDE], ids=["two stages", "wide"])
def test_groups_beyond_the_last_count_for_nothing(tile: CooperativeTile) -> None:
    fmt = WeightFormat(64, 33, "q4", True, "int16")
    check(build({"f": multiply(fmt, "plain", tile)})["f"], fmt, "plain", 8)


@pytest.mark.parametrize("width", [100, 128, 352])
def test_rows_become_halves_with_a_norm_or_without_and_rows_again(width: int) -> None:
    m = 24
    functions = {
        "plain": cooperative_rows(Rows(8), width, 32, 8),
        "normed": cooperative_rows(Rows(8), width, 32, 8, EPS),
        "expose": expose_rows(Rows(8), width, 32),
    }
    built = build(functions)
    x, gain = data.random_rows(m, width, 1), np.linspace(-2, 2, width, dtype=np.float32)
    shape = CooperativeRows(width).shape(m)
    (plain,) = run(built["plain"], [x], [(shape, "uint32")])
    (normed,) = run(built["normed"], [x, gain], [(shape, "uint32")])
    exact = x[:, :width].astype(np.float64)
    scaled = exact / np.sqrt((exact**2).mean(axis=1, keepdims=True) + EPS) * gain
    for words, wanted in ((plain, exact), (normed, scaled)):
        rows = as_rows(words)
        np.testing.assert_allclose(rows[:, :width], wanted, rtol=6e-4, atol=1e-6)
        assert (rows[:, width:] == 0).all()
        (again,) = run(built["expose"], [words], [((m, padded(width)), "float32")])
        np.testing.assert_array_equal(again[:, :width], rows[:, :width])
        assert (again[:, width:] == 0).all()


def test_what_passes_the_range_of_a_half_is_kept() -> None:
    built = build({"f": cooperative_rows(Rows(8), 64, 32, 8)})
    x = np.zeros((8, 64), np.float32)
    x[3, 5] = 9e5
    (words,) = run(built["f"], [x], [(CooperativeRows(64).shape(8), "uint32")])
    assert as_rows(words)[3, 5] == pytest.approx(9e5, rel=6e-4)


@pytest.mark.parametrize("epilogue", SHAPES)
@pytest.mark.parametrize("width", TILES)
def test_every_row_of_the_matrix_is_multiplied_once(width: int, epilogue: str) -> None:
    fmt = WeightFormat(600, 256, "q4", False, "int16")
    profile = GpuProfile("p", "vulkan", width, dot=True, shared_bytes=0)
    tile = cooperative_tile(profile, product(fmt, epilogue))
    size = 8 if width == 8 else 16
    grid = CooperativeGrid(product(fmt, epilogue), tile, width, (size, size, size))
    rows = [
        grid.matrix_row(workgroup, row, min)
        for workgroup in range(grid.workgroups)
        for row in range(grid.matrix_rows)
    ]
    assert set(rows) == set(range(600))
    last = {299, 599} if epilogue in PAIRED else {599}
    assert all(rows.count(row) == 1 for row in set(range(600)) - last)


@pytest.mark.parametrize("storage", ["q4", "q8"])
@pytest.mark.parametrize("width", TILES)
def test_a_stage_is_filled_by_all_threads_and_each_word_by_one(width: int, storage: str) -> None:
    fmt = WeightFormat(256, 256, storage, False, "int16")
    size = 8 if width == 8 else 16
    grid = CooperativeGrid(product(fmt, "plain"), TILES[width], width, (size, size, size))
    units = [grid.unit(index) for index in range(grid.lane_units * grid.threads)]
    words = [(row, group, word + j) for row, group, word in units for j in range(grid.lane_words)]
    assert len(words) == len(set(words)) == grid.words
    assert set(words) == {
        (row, group, word)
        for row in range(grid.matrix_rows)
        for group in range(grid.tile.columns // 32)
        for word in range(4)
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: CooperativeTile(1, 1, 1, 1, 48, 1),
        lambda: CooperativeTile(1, 1, 1, 1, 32, 3),
        lambda: CooperativeGrid(
            product(WeightFormat(64, 64, "q4", False, "int16"), "swiglu"),
            CooperativeTile(1, 1, 1, 4, 32, 1), 8, SHAPE,
        ),
        lambda: CooperativeGrid(
            product(WeightFormat(64, 64, "q4", False, "int16"), "plain"),
            CooperativeTile(8, 2, 1, 2, 32, 1), 32, (16, 16, 16),
        ),
    ],
    ids=["columns", "stages", "half a group", "idle threads"],
)  # fmt: skip
def test_a_tile_that_does_not_fit_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"columns|groups|divide"):
        make()
