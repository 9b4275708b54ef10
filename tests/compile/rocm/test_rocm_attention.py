"""Attention of the shapes of models as machine code of AMD's chips."""

from __future__ import annotations

import re

import pytest
import rocm_kernels
import tvm

from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm.kernel_resources import code_object_resources, defects, spills
from ferrylm.compile.rocm_tiers import TIERS
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_cooperative import cooperative_prefill_attention
from ferrylm.schedules.gpu.attention_cooperative_plan import cooperative_plan
from ferrylm.schedules.gpu.attention_decode import decode_attention
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.layout import ActivationLayout
from ferrylm.schedules.gpu.tiles import DECODE, ROW_TILE

# query heads, KV heads, elements of a head
SHAPES = {"qwen2_5_0_5b": (14, 2, 64), "llama_3_8b": (32, 8, 128)}


@pytest.mark.parametrize("chips", [("gfx1030", "gfx1100"), ("gfx906", "gfx90a")], ids=str)
def test_no_lane_needs_more_registers_than_there_are(chips: tuple[str, ...]) -> None:
    wave = ARCHITECTURES[chips[0]].wave
    kernels = {}
    for name, (heads, kv_heads, head_dim) in SHAPES.items():
        plan = DecodePlan(AttentionShape(heads, kv_heads, head_dim, "float16"), DECODE[wave], wave)
        func = decode_attention(1, plan, ActivationLayout(heads * head_dim, 2))
        kernels[name] = func.with_attr("global_symbol", name)
    built = rocm_kernels.build(tvm.IRModule(kernels), [ARCHITECTURES[chip] for chip in chips])
    for chip in chips:
        found = code_object_resources(chip, built.code_objects[chip].code)
        assert {kernel.name for kernel in found} == {f"{name}_kernel" for name in SHAPES}
        for kernel in found:
            assert spills(kernel) == defects(kernel) == [], f"{kernel.name} on {chip}"


@pytest.mark.parametrize(
    ("tier", "chips"),
    [
        ("wave32-matrix", ("gfx1100", "gfx1102", "gfx1201")),
        ("wave64-matrix", ("gfx908", "gfx90a", "gfx942")),
    ],
)
def test_prompts_attend_on_matrix_units_and_spill_nothing(
    tier: str, chips: tuple[str, ...]
) -> None:
    profile, kernels = TIERS[tier].profile, {}
    for head_dim in (64, 96, 128):
        plan = cooperative_plan(profile, AttentionShape(32, 8, head_dim, "float16"))
        func = cooperative_prefill_attention(Rows(ROW_TILE), plan)
        kernels[f"heads_of_{head_dim}"] = func.with_attr("global_symbol", f"heads_of_{head_dim}")
    built = rocm_kernels.build(tvm.IRModule(kernels), [ARCHITECTURES[chip] for chip in chips])
    for chip in chips:
        found = code_object_resources(chip, built.code_objects[chip].code)
        assert len(found) == len(kernels)
        for kernel in found:
            assert spills(kernel) == defects(kernel) == [], f"{kernel.name} on {chip}"
            code = built.code_objects[chip].assembly.split(f"\n{kernel.name}:")[1]
            code = code.split(".end_amdhsa_kernel")[0]
            assert len(re.findall("v_wmma_f32|v_mfma_f32", code)) >= 16, f"{kernel.name} on {chip}"
