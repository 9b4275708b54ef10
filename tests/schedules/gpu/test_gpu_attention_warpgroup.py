from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.compile.cuda.architectures import parse_architectures
from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_prefill import prefill_kernel
from ferrylm.schedules.gpu.attention_warpgroup import warpgroup_prefill_attention
from ferrylm.schedules.gpu.attention_warpgroup_plan import (
    TILES,
    WarpgroupPlan,
    WarpgroupTile,
    fits_warpgroups,
)
from ferrylm.schedules.gpu.tiles import ROW_TILE
from tests.schedules.attention_data import AttentionData
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu.test_gpu_attention_matrix import Attention as MatrixAttention
from tests.schedules.gpu.test_gpu_attention_matrix import attention_pages, chunk
from tests.support.cuda_emulator.launches import Launch
from tests.support.cuda_emulator.runner import build

Array = np.ndarray
LENGTH = 300
CASES = (
    AttentionCase(4, 2, 128, LENGTH, 64),
    AttentionCase(7, 1, 64, LENGTH, 32),
    AttentionCase(2, 2, 128, LENGTH, 160),
)
# About the ends of pages, of steps and of a workgroup's rows, from the beginning and from later on.
CHUNKS = (
    (0, 0), (0, 63), (0, 64), (0, 127), (0, 128), (31, 95), (127, 127), (96, 290), (299, 299),
)  # fmt: skip


class Attention(MatrixAttention):
    """The kernel of a case, held to what attention on matrix units is held to."""

    def __init__(self, case: AttentionCase, tile: WarpgroupTile | None = None) -> None:
        self.data, self.shape = AttentionData(case), case.shape
        self.width = case.num_heads * case.head_dim
        self.pages = attention_pages(self.data)
        plan = WarpgroupPlan(case.shape, tile or TILES[case.head_dim])
        self.take(warpgroup_prefill_attention(Rows(ROW_TILE), plan))

    def take(self, func: Any, arch: str = "90a") -> None:
        """Run this function, on that chip."""
        self.kernel = build({"attention": func}, arch)["attention"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_chunk_of_a_prompt_keeps_the_gate(case: AttentionCase) -> None:
    kernel = Attention(case)
    for first, last in CHUNKS:
        kernel.check(chunk(first, last))
    kernel.check(chunk(40, 50, padding=136))


@pytest.mark.parametrize("tile", [
    WarpgroupTile(2, 64, 3), WarpgroupTile(2, 96, turns=False), WarpgroupTile(3, 64, 4, False),
], ids=str)  # fmt: skip
def test_other_tiles_give_the_same_attention(tile: WarpgroupTile) -> None:
    kernel = Attention(AttentionCase(4, 2, 64, 290, 96), tile)
    kernel.check(chunk(0, 130))
    kernel.check(chunk(121, 289, padding=8))


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
    kernel = Attention(AttentionCase(3, 1, 64, 290, 64))
    positions = chunk(133, 280, padding=8)
    np.testing.assert_array_equal(kernel.rows(positions), kernel.rows(positions, backward=True))


def test_what_is_not_finite_shows_in_its_row_alone_and_stops_nobody() -> None:
    kernel = Attention(AttentionCase(2, 1, 64, 290))
    kernel.data.queries[170, 1, 5] = np.nan
    finite = np.isfinite(kernel.rows(chunk(160, 191)))
    assert not finite[10, 64:].any()
    finite[10, 64:] = True
    assert finite.all()


@pytest.mark.parametrize("shape", [
    AttentionShape(4, 2, 96, "float16"), AttentionShape(4, 2, 64, "float32"),
    AttentionShape(4, 2, 64, "float16", variant=AttentionVariant(window_tokens=512)),
    AttentionShape(4, 2, 64, "float16", variant=AttentionVariant(soft_cap=50.0)),
])  # fmt: skip
def test_other_heads_pages_and_variants_are_not_for_warpgroups(shape: AttentionShape) -> None:
    assert not fits_warpgroups(shape)
    with pytest.raises(ValueError, match="warpgroups take no heads"):
        WarpgroupPlan(shape, WarpgroupTile(2, 128))


def test_another_scale_of_scores_is_in_the_queries() -> None:
    variant = AttentionVariant(score_scale=0.25)
    assert fits_warpgroups(AttentionShape(4, 2, 64, "float16", variant=variant))


def test_a_tile_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole blocks"):
        WarpgroupTile(2, 48)
    with pytest.raises(ValueError, match="take turns"):
        WarpgroupTile(3, 64)


def test_only_a_chip_of_sm_90a_gets_the_kernel_and_only_from_a_library_with_its_code() -> None:
    shape, rows = AttentionShape(4, 2, 64, "float16"), Rows(ROW_TILE)
    for names, chip in ((("90a", "100"), True), (("100", "compute_90"), False),
                        (("90", "90a"), False)):  # fmt: skip
        profile = TIERS["sm90"].profile_for(parse_architectures(names))
        script = prefill_kernel(profile, shape, rows).script()
        assert ("ferrylm.cuda_chip" in script) == chip
        assert ("ferrylm.multiply_near" in script) == chip
        assert "ferrylm.mma_m16n8k16_f16" in script


@pytest.mark.parametrize(("arch", "threads"), [("90a", 384), ("120", 128)])
def test_the_host_launches_the_kernel_for_the_chip_at_hand(
    arch: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[int, int, int]] = []
    launch = Launch.run

    def note(shape: Launch, *arguments: Any, **options: Any) -> None:
        launched.append(shape.workgroup)
        launch(shape, *arguments, **options)

    monkeypatch.setattr(Launch, "run", note)
    case = AttentionCase(4, 2, 64, 200, 64)
    kernel = Attention(case)
    profile = TIERS["sm90"].profile_for(parse_architectures(("90a", "120")))
    kernel.take(prefill_kernel(profile, case.shape, Rows(ROW_TILE)), arch)
    kernel.check(chunk(31, 150))
    assert launched == [(threads, 1, 1)]
