"""Attention of a decode step spills no registers on the Steam Deck, whatever the heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm

from ferrylm.compile import spirv
from ferrylm.compile.isa.budgets import read_budgets
from ferrylm.compile.isa.container import find_kernels
from ferrylm.compile.isa.radv import compile_kernels
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu.attention_decode import decode_attention
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.layout import ActivationLayout
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.tiles import decode_tile
from tests.support.deck import deck, needs_radv
from tests.support.vulkan_modules import lowered, target_of

BUDGETS = read_budgets(Path(__file__).parents[2] / "budgets" / "vangogh.json")
SHAPES = {
    "llama_3_8b": AttentionShape(32, 8, 128, "float16"),
    "qwen_2.5_0.5b": AttentionShape(14, 2, 64, "float16"),
    "smollm2": AttentionShape(9, 3, 64, "float16"),
    "heads_of_256": AttentionShape(8, 4, 256, "float16"),
}


@needs_radv
@pytest.mark.parametrize("subgroup", [32, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_keeps_its_budget(shape: str, subgroup: int) -> None:
    heads = SHAPES[shape]
    profile = GpuProfile("deck", "vulkan", subgroup, dot=True, shared_bytes=32 << 10)
    plan, target = DecodePlan(heads, decode_tile(profile), subgroup), target_of(profile)
    layout = ActivationLayout(heads.num_heads * heads.head_dim, 2)
    module = lowered("rope_attention_batch1", decode_attention(1, plan, layout), target)
    kernels = find_kernels(spirv.generate(module, tvm.target.Target(target)), shape)
    rows = compile_kernels(kernels, deck())
    assert [row.name for row in rows] == ["rope_attention_batch1_kernel"]
    assert [problem for row in rows for problem in BUDGETS.violations(row)] == []
