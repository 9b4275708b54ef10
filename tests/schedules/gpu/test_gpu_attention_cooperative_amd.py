"""Attention of prompts on AMD's matrix units, run lane by lane: results beside float64."""

from __future__ import annotations

import pytest

from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm_tiers import TIERS
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_cooperative import cooperative_prefill_attention
from ferrylm.schedules.gpu.attention_cooperative_plan import cooperative_plan, fits_cooperative
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_in_halves
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu.amd_runner import CHIPS, build, run
from tests.schedules.gpu.test_gpu_attention_cooperative import LENGTH, Attention, chunk


class AmdAttention(Attention):
    """The kernel of a case as a chip's library has it."""

    def __init__(self, case: AttentionCase, chip: str) -> None:
        profile = TIERS[CHIPS[chip]].profile
        assert fits_cooperative(profile, case.shape)
        plan = cooperative_plan(profile, case.shape)
        func = cooperative_prefill_attention(Rows(ROW_TILE), plan)
        self.hold(case, build({"attention": func}, ARCHITECTURES[chip])["attention"], run)


@pytest.mark.parametrize(
    "case", [AttentionCase(4, 2, 64, LENGTH, 96), AttentionCase(2, 1, 128, LENGTH, 32)], ids=str
)
@pytest.mark.parametrize("chip", CHIPS)
def test_chunks_of_a_prompt_keep_the_gate(chip: str, case: AttentionCase) -> None:
    kernel = AmdAttention(case, chip)
    for first, last in ((0, 31), (62, 140), (96, 169)):
        kernel.check(chunk(first, last))
    kernel.check(chunk(40, 50, padding=72))


@pytest.mark.parametrize("tier", ["wave32-matrix", "wave64-matrix"])
@pytest.mark.parametrize("head_dim", [16, 64, 80, 96, 112, 128])
def test_the_tiles_of_a_tier_fit_its_shared_memory(tier: str, head_dim: int) -> None:
    profile = TIERS[tier].profile
    plan = cooperative_plan(profile, AttentionShape(8, 2, head_dim, "float16"))
    assert plan.near_vectors * 16 <= profile.shared_bytes
    assert plan.threads <= 256


def test_chips_without_matrix_units_attend_in_floats() -> None:
    shape = AttentionShape(8, 2, 64, "float16")
    for tier in TIERS.values():
        assert attention_in_halves(tier.profile, shape) == ("none" not in tier.units)
