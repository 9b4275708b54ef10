from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_matrix import matrix_prefill_attention
from ferrylm.schedules.gpu.attention_matrix_blocks import LOG2_E
from ferrylm.schedules.gpu.attention_matrix_plan import MatrixAttentionPlan, MatrixAttentionTile
from ferrylm.schedules.gpu.attention_prefill import prefill_kernel
from ferrylm.schedules.gpu.kernels import GpuKernels
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_in_halves, matrix_attention_tile
from tests.numeric_gates import nmse
from tests.schedules.attention_data import GARBAGE, AttentionData
from tests.schedules.cases import AttentionCase
from tests.support.cuda_emulator.runner import build, run

Array = np.ndarray
# Queries and weights round to float16: by 2^-11 at most, 2.8e-4 in the mean. Scores of 1.5 are off
# by 4e-4, and so are weights, and by 2e-4 of their own: in the mean outputs are off by 5e-4. Twice
# that is allowed, and six times that for a single one.
NMSE, LARGEST = 1e-3**2, 3e-3
WEIGHTS_NMSE = 2.0**-22  # where queries are such that they need no rounding
LENGTH = 300
CASES = (
    AttentionCase(3, 1, 80, LENGTH, 96),
    AttentionCase(7, 1, 64, LENGTH, 32),
    AttentionCase(8, 1, 128, LENGTH, 64),
    AttentionCase(2, 2, 96, LENGTH, 128),
    AttentionCase(8, 2, 16, LENGTH, 32),
)
# About the ends of pages, of steps and of a workgroup's rows, from the beginning and from later on.
CHUNKS = (
    (0, 0), (0, 62), (0, 63), (0, 64), (0, 128), (31, 63), (32, 95), (62, 140), (127, 127),
    (64, 191), (171, 299), (299, 299),
)  # fmt: skip


def attention_pages(data: AttentionData) -> tuple[Array, Array]:
    """Return keys (P, Hkv, D / 8, page, 8) and values (P, Hkv, page, D), NaN in unused slots."""
    keys, values = (
        np.where(pages == np.float16(GARBAGE), np.float16(np.nan), pages) for pages in data.pages
    )
    pages, heads, _, page = keys.shape
    keys = keys.reshape(pages, heads, -1, KEY_VECTOR, page).swapaxes(3, 4)
    return np.ascontiguousarray(keys), np.ascontiguousarray(values)


class Attention:
    """The kernel of a case."""

    def __init__(
        self, case: AttentionCase, tier: str = "sm90", tile: MatrixAttentionTile | None = None
    ) -> None:
        self.data, self.shape = AttentionData(case), case.shape
        chosen = tile or matrix_attention_tile(TIERS[tier].profile, case.head_dim)
        func = matrix_prefill_attention(Rows(ROW_TILE), MatrixAttentionPlan(case.shape, chosen))
        self.kernel = build({"attention": func}, {"sm90": "90a", "sm75": "75"}[tier])["attention"]
        self.width = case.num_heads * case.head_dim
        self.pages = attention_pages(self.data)

    def rows(self, positions: list[int], *, backward: bool = False) -> Array:
        """Return float32 (rows, padded(Hq * D))."""
        inputs: list[Any] = [self.data.queries[np.maximum(positions, 0)], *self.pages]
        inputs += [self.data.table[None], np.array(positions, np.int32)]
        shape = (len(positions), padded(self.width))
        return run(self.kernel, inputs, [(shape, "float32")], backward=backward)[0]

    def check(self, positions: list[int], allowed: float = NMSE) -> None:
        """Compare with float64; padding gives zeros."""
        found = self.rows(positions)
        real = [position for position in positions if position >= 0]
        wanted = self.data.expected(real).reshape(len(real), -1)
        mine = found[: len(real), : self.width]
        assert nmse(mine, wanted) <= allowed, positions
        level = np.sqrt(np.mean(wanted**2, axis=1, keepdims=True))
        assert (np.abs(mine - wanted) <= LARGEST * (np.abs(wanted) + level)).all(), positions
        assert (found[len(real) :] == 0).all(), "a row of padding gives zeros"
        assert (found[:, self.width :] == 0).all()


def chunk(first: int, last: int, padding: int = 0) -> list[int]:
    """Return consecutive positions, then padding to whole tiles of rows and beyond."""
    positions = list(range(first, last + 1))
    return positions + [-1] * (-len(positions) % ROW_TILE + padding)


@pytest.mark.parametrize("tier", ["sm90", "sm75"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_chunk_of_a_prompt_keeps_the_gate(case: AttentionCase, tier: str) -> None:
    kernel = Attention(case, tier)
    for first, last in CHUNKS:
        kernel.check(chunk(first, last))
    kernel.check(chunk(40, 50, padding=136))


@pytest.mark.parametrize("tier", ["sm90", "sm75"])
@pytest.mark.parametrize("head_dim", [32, 112, 192, 256])
def test_heads_of_other_sizes_keep_the_gate(head_dim: int, tier: str) -> None:
    kernel = Attention(AttentionCase(2, 1, head_dim, 150, 64), tier)
    kernel.check(chunk(70, 149))


@pytest.mark.parametrize("tile", [
    MatrixAttentionTile(2, 1, 32, 1), MatrixAttentionTile(8, 1, 64, 1),
    MatrixAttentionTile(6, 1, 96, 1), MatrixAttentionTile(4, 2, 128, 1),
    MatrixAttentionTile(1, 2, 64, 1, near=True),
], ids=str)  # fmt: skip
def test_other_tiles_give_the_same_attention(tile: MatrixAttentionTile) -> None:
    kernel = Attention(AttentionCase(4, 2, 64, 200, 96), tile=tile)
    kernel.check(chunk(0, 130))
    kernel.check(chunk(121, 199, padding=8))


def test_only_weights_round_where_queries_fit_into_float16() -> None:
    kernel = Attention(AttentionCase(4, 1, 128, 200))
    halves = (kernel.data.queries * np.float32(LOG2_E)).astype(np.float16)
    kernel.data.queries[...] = halves.astype(np.float32) / np.float32(LOG2_E)
    kernel.check(chunk(100, 199), WEIGHTS_NMSE)


def test_scores_of_hundreds_leave_one_token_and_no_overflow() -> None:
    kernel = Attention(AttentionCase(2, 1, 64, 200))
    keys = np.float64(kernel.data.pages[0])[kernel.data.table]  # pages, heads, D, slots
    by_position = keys.transpose(0, 3, 1, 2).reshape(-1, 64)
    kernel.data.queries[...] = 4 * by_position[:200, None, :]  # of itself 4 * |key|^2, about 256
    kernel.check(chunk(100, 199))


def test_neither_chunks_nor_pages_change_a_bit() -> None:
    case = AttentionCase(4, 2, 64, 200, 32)
    one = Attention(case)
    whole = one.rows(chunk(0, 199))
    for first, last in ((0, 40), (41, 104), (105, 199)):
        found = one.rows(chunk(first, last, padding=16))
        np.testing.assert_array_equal(found[: last + 1 - first], whole[first : last + 1])
    other = Attention(replace(case, page_size=160))
    np.testing.assert_array_equal(other.rows(chunk(0, 199)), whole)


def test_the_order_of_threads_does_not_matter() -> None:
    kernel = Attention(AttentionCase(3, 1, 80, 200, 64))
    positions = chunk(33, 180, padding=8)
    np.testing.assert_array_equal(kernel.rows(positions), kernel.rows(positions, backward=True))


def test_what_is_not_finite_shows_in_its_row_alone() -> None:
    kernel = Attention(AttentionCase(2, 1, 64, 200))
    kernel.data.queries[70, 1, 5] = np.nan
    finite = np.isfinite(kernel.rows(chunk(60, 91)))
    assert not finite[10, 64:].any()
    finite[10, 64:] = True
    assert finite.all()


def test_a_value_that_is_not_finite_shows_in_all_rows_that_see_it() -> None:
    kernel = Attention(AttentionCase(2, 1, 64, 200))
    kernel.pages[1][kernel.data.table[150 // 32], 0, 150 % 32, 3] = np.inf
    finite = np.isfinite(kernel.rows(chunk(0, 199))[:, :64])
    assert not finite[150:, 3].any()
    assert finite[:128].all(), "workgroups that end before do not read it"


@pytest.mark.parametrize("shape", [
    AttentionShape(4, 2, 72, "float16"), AttentionShape(4, 2, 264, "float16"),
    AttentionShape(4, 2, 64, "float32"),
])  # fmt: skip
def test_other_heads_and_pages_stay_in_floats(shape: AttentionShape) -> None:
    assert not attention_in_halves(TIERS["sm90"].profile, shape)
    with pytest.raises(ValueError, match="matrix units take no heads"):
        MatrixAttentionPlan(shape, MatrixAttentionTile(4, 1, 64, 1))


def test_prompts_are_in_halves_where_there_are_matrix_units_and_say_so() -> None:
    shape = AttentionShape(4, 2, 64, "float16")
    units = TIERS["sm75"].profile
    for profile, halves in ((units, True), (replace(units, matrix=False), False)):
        kernels = GpuKernels(profile, "int16", shape)
        found = prefill_kernel(profile, shape, kernels.rows(None)).script()
        assert ("ferrylm.mma_m16n8k16_f16" in found) == halves
        assert kernels.attention_arithmetic(kernels.rows(None)) == ("f16" if halves else "f32")
        assert kernels.attention_arithmetic(kernels.rows(2)) == "f32"


def test_a_tile_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole blocks"):
        MatrixAttentionTile(4, 1, 48, 1)
    with pytest.raises(ValueError, match="no multiple"):
        MatrixAttentionTile(3, 1, 64, 1)
