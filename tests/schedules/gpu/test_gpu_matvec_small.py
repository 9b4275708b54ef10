"""Small matrices in a step of one sequence, where kernels overlap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec import Product
from ferrylm.schedules.gpu.matvec_grid import MatvecGrid
from ferrylm.schedules.gpu.matvec_small import leaves_floats, rounds_itself, small_tile
from ferrylm.schedules.gpu.tiles import matvec_tile
from tests.schedules.gpu.test_gpu_launches import CONFIG, launches
from tests.schedules.gpu.vulkan_runner import DOT

PROFILE = TIERS["sm90"].profile
ONE = Rows(1, 1)
SMALL = [(896, 896), (896, 4864), (576, 576), (576, 1536), (2048, 2048), (2048, 8192), (1152, 896)]


def product(rows: int, columns: int) -> Product:
    return Product(ONE, WeightFormat(rows, columns, "q4", False, "int16"), "residual")


@pytest.mark.parametrize(("rows", "columns"), SMALL)
def test_a_workgroup_has_eight_outputs_and_all_its_weights_at_once(rows: int, columns: int) -> None:
    made = product(rows, columns)
    tile = matvec_tile(PROFILE, made)
    assert tile == small_tile(PROFILE, made)
    grid = MatvecGrid(made, tile, PROFILE.subgroup, overlap=True)
    assert (grid.workgroup_outputs, grid.steps) == (8, 1)
    assert grid.threads <= 1024


def test_other_matrices_batches_and_devices_quantize_results_as_before() -> None:
    assert not leaves_floats(PROFILE, ONE, 4096)
    assert not leaves_floats(PROFILE, Rows(2, 2), 896)
    assert not leaves_floats(DOT, ONE, 896)
    assert small_tile(PROFILE, product(4096, 4096)) is None
    assert small_tile(PROFILE, replace(product(896, 896), parts=2, gained=True)) is None


def test_a_head_of_many_rows_is_given_what_one_kernel_quantized() -> None:
    assert rounds_itself(PROFILE, ONE, WeightFormat(9728, 896, "q4", False, "int16"))
    assert not rounds_itself(PROFILE, ONE, WeightFormat(151936, 896, "q8", False, "int16"))


def test_a_step_of_a_small_model_quantizes_in_no_kernel_of_its_own() -> None:
    _, names = launches(CONFIG, PROFILE, 1)
    assert len(names) == 1 + 5 * CONFIG.num_layers + 1, names
    assert not [name for name in names if name.startswith("quantize")]
    assert sum(name.startswith("rounding_normed") for name in names) == 2 * CONFIG.num_layers + 1
