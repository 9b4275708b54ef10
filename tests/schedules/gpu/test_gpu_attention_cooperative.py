"""Attention of prompts on cooperative matrices: results beside float64, and who gets it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.compile.vulkan_tiers import TIERS
from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_cooperative import cooperative_prefill_attention
from ferrylm.schedules.gpu.attention_cooperative_plan import (
    TILES,
    CooperativeAttentionPlan,
    CooperativeAttentionTile,
    cooperative_plan,
    fits_cooperative,
)
from ferrylm.schedules.gpu.attention_prefill import prefill_kernel
from ferrylm.schedules.gpu.kernels import GpuKernels
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_in_halves
from tests.numeric_gates import nmse
from tests.schedules.attention_data import AttentionData
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu.cooperative_runner import SHAPE, build
from tests.schedules.gpu.test_gpu_attention_matrix import (
    LARGEST,
    NMSE,
    attention_pages,
    chunk,
)
from tests.schedules.gpu.vulkan_runner import run

Array = np.ndarray
LENGTH = 170
ONE = CooperativeAttentionTile(1, 1, 32)
# About the ends of pages, of steps and of a workgroup's rows, from the beginning and from later on.
CHUNKS = ((0, 0), (0, 31), (0, 32), (0, 63), (31, 64), (62, 140), (127, 127), (96, 169))
MATRIX_TIERS = [tier for tier in TIERS.values() if tier.profile.cooperative is not None]


class Attention:
    """The kernel of a case, on matrices of 8 x 8 and subgroups of 8 lanes."""

    def __init__(self, case: AttentionCase, tile: CooperativeAttentionTile = ONE) -> None:
        plan = CooperativeAttentionPlan(case.shape, tile, 8, SHAPE[0])
        func = cooperative_prefill_attention(Rows(ROW_TILE), plan)
        self.hold(case, build({"attention": func})["attention"], run)

    def hold(self, case: AttentionCase, kernel: Any, runner: Any) -> None:
        """Keep a kernel, how it is run, and its inputs."""
        self.data, self.width = AttentionData(case), case.num_heads * case.head_dim
        self.kernel, self.runner = kernel, runner
        self.pages = attention_pages(self.data)

    def rows(self, positions: list[int]) -> Array:
        """Return float32 (rows, padded(Hq * D))."""
        inputs: list[Any] = [self.data.queries[np.maximum(positions, 0)], *self.pages]
        inputs += [self.data.table[None], np.array(positions, np.int32)]
        shape = (len(positions), padded(self.width))
        return self.runner(self.kernel, inputs, [(shape, "float32")])[0]  # type: ignore[no-any-return]

    def check(self, positions: list[int]) -> None:
        """Compare with float64; padding gives zeros."""
        found = self.rows(positions)
        real = [position for position in positions if position >= 0]
        wanted = self.data.expected(real).reshape(len(real), -1)
        mine = found[: len(real), : self.width]
        assert nmse(mine, wanted) <= NMSE, positions
        level = np.sqrt(np.mean(wanted**2, axis=1, keepdims=True))
        assert (np.abs(mine - wanted) <= LARGEST * (np.abs(wanted) + level)).all(), positions
        assert (found[len(real) :] == 0).all(), "a row of padding gives zeros"
        assert (found[:, self.width :] == 0).all()


@pytest.mark.parametrize(
    ("case", "tile"),
    [
        (AttentionCase(3, 1, 24, LENGTH, 96), ONE),
        (AttentionCase(7, 1, 16, LENGTH, 32), CooperativeAttentionTile(2, 1, 32)),
        (AttentionCase(2, 2, 24, LENGTH, 64), CooperativeAttentionTile(2, 1, 32, near=True)),
        (AttentionCase(8, 2, 8, LENGTH, 128), CooperativeAttentionTile(2, 1, 64)),
        (AttentionCase(4, 1, 8, LENGTH, 32), CooperativeAttentionTile(1, 2, 32)),
    ],
    ids=str,
)
def test_every_chunk_of_a_prompt_keeps_the_gate(
    case: AttentionCase, tile: CooperativeAttentionTile
) -> None:
    kernel = Attention(case, tile)
    for first, last in CHUNKS:
        kernel.check(chunk(first, last))
    kernel.check(chunk(40, 50, padding=72))


@pytest.fixture(scope="module")
def grouped() -> Attention:
    return Attention(AttentionCase(4, 2, 16, LENGTH, 32), CooperativeAttentionTile(2, 1, 32))


def test_scores_of_hundreds_leave_one_token_and_no_overflow() -> None:
    kernel = Attention(AttentionCase(2, 1, 16, 64))
    keys = np.float64(kernel.data.pages[0])[kernel.data.table]  # pages, heads, D, slots
    by_position = keys.transpose(0, 3, 1, 2).reshape(-1, 16)
    kernel.data.queries[...] = 16 * by_position[:64, None, :]  # of itself 16 * |key|^2, about 256
    kernel.check(chunk(0, 63))


def test_scores_that_grow_from_step_to_step_rescale_the_sums_each_time(grouped: Attention) -> None:
    queries = grouped.data.queries.copy()
    keys = grouped.pages[0].copy()
    try:
        grouped.data.queries[...] = 0
        grouped.data.queries[..., 0] = 1
        for position in range(LENGTH):
            page, slot = grouped.data.table[position // 32], position % 32
            keys[page, :, :, slot] = 0
            keys[page, :, 0, slot, 0] = position / 4  # a step's largest is 2^11.5 times the last's
        grouped.pages = (keys, grouped.pages[1])
        values = np.float64(grouped.data.pages[1])[grouped.data.table]  # pages, heads, slots, D
        by_position = values.transpose(0, 2, 1, 3).reshape(-1, 2, 16)
        found = grouped.rows(chunk(100, 169))
        for row, position in enumerate(range(100, 170)):
            weights = np.exp(np.arange(position + 1) / 4 - position / 4)
            wanted = np.einsum("t,thd->hd", weights / weights.sum(), by_position[: position + 1])
            np.testing.assert_allclose(
                found[row, :64].reshape(2, 2, 16), wanted[:, None].repeat(2, 1), atol=3e-3
            )
    finally:
        grouped.data.queries[...] = queries
        grouped.pages = attention_pages(grouped.data)


def test_neither_chunks_nor_pages_change_a_bit(grouped: Attention) -> None:
    whole = grouped.rows(chunk(0, 169))
    for first, last in ((0, 40), (41, 104), (105, 169)):
        found = grouped.rows(chunk(first, last, padding=16))
        np.testing.assert_array_equal(found[: last + 1 - first], whole[first : last + 1])
    other = Attention(AttentionCase(4, 2, 16, LENGTH, 160), CooperativeAttentionTile(3, 1, 32))
    np.testing.assert_array_equal(other.rows(chunk(0, 169)), whole)


def test_what_is_not_finite_shows_in_its_row_alone(grouped: Attention) -> None:
    kept = grouped.data.queries[70, 1, 5].copy()
    grouped.data.queries[70, 1, 5] = np.nan
    finite = np.isfinite(grouped.rows(chunk(60, 91)))
    grouped.data.queries[70, 1, 5] = kept
    assert not finite[10, 16:32].any()
    finite[10, 16:32] = True
    assert finite.all()


@pytest.mark.parametrize("tier", MATRIX_TIERS, ids=lambda tier: tier.name)
@pytest.mark.parametrize("head_dim", [16, 64, 80, 96, 112, 128])
def test_the_tiles_of_a_tier_fit_its_shared_memory(tier: Any, head_dim: int) -> None:
    shape = AttentionShape(8, 2, head_dim, "float16")
    assert fits_cooperative(tier.profile, shape)
    plan = cooperative_plan(tier.profile, shape)
    assert plan.near_vectors * 16 <= tier.profile.shared_bytes
    assert plan.threads <= 256


@pytest.mark.parametrize("shape", [
    AttentionShape(4, 2, 72, "float16"), AttentionShape(4, 2, 144, "float16"),
    AttentionShape(4, 2, 64, "float32"),
    AttentionShape(4, 2, 64, "float16", variant=AttentionVariant(window_tokens=64)),
], ids=["odd heads", "large heads", "float32", "a window"])  # fmt: skip
def test_other_heads_pages_and_variants_stay_in_floats(shape: AttentionShape) -> None:
    profile = TIERS["subgroup32-matrix"].profile
    assert not fits_cooperative(profile, shape)
    assert not attention_in_halves(profile, shape)


def test_prompts_are_in_halves_where_there_are_cooperative_matrices_and_say_so() -> None:
    shape, units = AttentionShape(4, 2, 64, "float16"), TIERS["subgroup32-matrix"].profile
    for profile, halves in ((units, True), (replace(units, cooperative=None), False)):
        kernels = GpuKernels(profile, "int16", shape)
        found = prefill_kernel(profile, shape, kernels.rows(None)).script()
        assert ("ferrylm.coopmat_mul_add" in found) == halves
        assert kernels.attention_arithmetic(kernels.rows(None)) == ("f16" if halves else "f32")
        assert kernels.attention_arithmetic(kernels.rows(2)) == "f32"


def test_a_tile_that_makes_no_sense_is_refused() -> None:
    shape = AttentionShape(4, 2, 64, "float16")
    with pytest.raises(ValueError, match="no whole blocks"):
        CooperativeAttentionTile(4, 1, 48)
    with pytest.raises(ValueError, match="lanes of a row"):
        CooperativeAttentionPlan(shape, CooperativeAttentionTile(4, 1, 32), 64, 16)
    with pytest.raises(ValueError, match="take no heads"):
        CooperativeAttentionPlan(replace(shape, head_dim=40), TILES[32][96], 32, 16)
