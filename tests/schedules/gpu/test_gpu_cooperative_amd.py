"""Products on AMD's matrix units, run lane by lane: WMMA of RDNA 3 and 4, and MFMA of CDNA.

The tables of which lane holds what are those of tests/support/amd_emulator/matrices.cc.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from ferrylm.compile.rocm import device_functions, matrix_units
from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm_tiers import TIERS
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.cooperative_rows import CooperativeRows, cooperative_rows, expose_rows
from ferrylm.schedules.gpu.cooperative_tiles import cooperative_tile
from ferrylm.schedules.gpu.layout import WeightFormat, padded
from ferrylm.schedules.gpu.matmul_cooperative import cooperative_matmul
from ferrylm.schedules.gpu.matvec_grid import Product
from tests.schedules.cases import CAP
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.amd_runner import CHIPS, build, run
from tests.schedules.gpu.cooperative_runner import as_rows
from tests.schedules.gpu.test_gpu_cooperative import check
from tests.schedules.gpu.test_gpu_halves import EPS, FORMATS, SHAPES
from tests.support.cuda_emulator.launches import EmulationError


def multiply(chip: str, fmt: WeightFormat, epilogue: str) -> Any:
    """Return a product as the chip's library has it."""
    profile = TIERS[CHIPS[chip]].profile
    product = Product(Rows(8), fmt, epilogue, cap=CAP)
    assert profile.cooperative is not None
    tile = cooperative_tile(profile, product)
    return cooperative_matmul(product, tile, profile.subgroup, profile.cooperative)


@pytest.mark.parametrize("epilogue", SHAPES)
@pytest.mark.parametrize("chip", CHIPS)
def test_products_on_matrix_units_are_right_to_their_rounding(chip: str, epilogue: str) -> None:
    formats = [WeightFormat(*SHAPES[epilogue], *fmt, "int16") for fmt in FORMATS]
    chosen = formats if epilogue == "plain" else formats[1:2]
    built = build({fmt.tag: multiply(chip, fmt, epilogue) for fmt in chosen}, ARCHITECTURES[chip])
    for fmt in chosen:
        # Fewer rows than a workgroup has, and not a whole number of workgroups' rows.
        check(built[fmt.tag], fmt, epilogue, 8, run)
        check(built[fmt.tag], fmt, epilogue, 136, run)


@pytest.mark.parametrize("chip", CHIPS)
def test_columns_beyond_the_last_group_count_for_nothing(chip: str) -> None:
    fmt = WeightFormat(64, 33, "q4", True, "int16")
    check(
        build({"f": multiply(chip, fmt, "plain")}, ARCHITECTURES[chip])["f"], fmt, "plain", 8, run
    )


@pytest.mark.parametrize("chip", CHIPS)
def test_rows_become_halves_with_a_norm_and_rows_again(chip: str) -> None:
    m, width, subgroup = 8, 352, ARCHITECTURES[chip].wave
    functions = {
        "normed": cooperative_rows(Rows(8), width, 256, subgroup, EPS),
        "expose": expose_rows(Rows(8), width, 256),
    }
    built = build(functions, ARCHITECTURES[chip])
    x, gain = data.random_rows(m, width, 1), np.linspace(-2, 2, width, dtype=np.float32)
    shape = CooperativeRows(width).shape(m)
    (words,) = run(built["normed"], [x, gain], [(shape, "uint32")])
    exact = x[:, :width].astype(np.float64)
    wanted = exact / np.sqrt((exact**2).mean(axis=1, keepdims=True) + EPS) * gain
    np.testing.assert_allclose(as_rows(words)[:, :width], wanted, rtol=6e-4, atol=1e-6)
    (again,) = run(built["expose"], [words], [((m, padded(width)), "float32")])
    np.testing.assert_array_equal(again[:, :width], as_rows(words)[:, :width])


@pytest.mark.parametrize("chip", CHIPS)
def test_sums_that_a_unit_keeps_elsewhere_are_noticed(chip: str) -> None:
    arch = ARCHITECTURES[chip]
    unit = matrix_units.UNITS[arch.matrix]
    wrong = replace(unit, row_step=3 - unit.row_step, block_step=9 - unit.block_step)
    fmt = WeightFormat(64, 64, "q4", False, "int16")
    with patch.object(matrix_units, "UNITS", {arch.matrix: wrong}):
        built = build({"f": multiply(chip, fmt, "plain")}, arch)
    with pytest.raises(AssertionError):
        check(built["f"], fmt, "plain", 16, run)


def test_a_factor_that_lies_in_one_half_of_an_rdna_3_wave_is_noticed() -> None:
    arch = ARCHITECTURES["gfx1100"]
    inner = device_functions.function_text

    def text(name: str, chip: Any) -> str:
        found = inner(name, chip)
        return found.replace("and i32 %lane, 15", "and i32 %lane, 31") if "load" in name else found

    fmt = WeightFormat(64, 64, "q4", False, "int16")
    with patch("ferrylm.compile.rocm.llvm_text.function_text", text):
        built = build({"f": multiply("gfx1100", fmt, "plain")}, arch)
    with pytest.raises(EmulationError, match="different rows"):
        check(built["f"], fmt, "plain", 16, run)


def test_the_shape_of_a_tier_is_that_of_its_units() -> None:
    for tier in TIERS.values():
        for kind in tier.units:
            unit = matrix_units.UNITS.get(kind)
            if unit is None:
                assert tier.profile.cooperative is None
                continue
            assert tier.profile.cooperative is not None
            *sides, columns = tier.profile.cooperative
            assert sides == [matrix_units.SIDE] * 2
            assert columns == max(unit.columns)
