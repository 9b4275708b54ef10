"""Variants of attention as machine code of AMD's chips: they compile, and spill nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import rocm_kernels
import tvm

from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm.kernel_resources import code_object_resources, defects, spills
from ferrylm.compile.rocm_tiers import TIERS
from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_decode import decode_attention
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.attention_prefill import prefill_kernel
from ferrylm.schedules.gpu.tiles import DECODE, ROW_TILE

SHAPES = {
    "mistral": (32, 8, 128, AttentionVariant(window_tokens=4096)),
    "gemma_2": (8, 4, 256, AttentionVariant(4096, 50.0, score_scale=1 / 16)),
    "everything": (12, 4, 64, AttentionVariant(128, 30.0, alibi=True, sinks=True)),
}


@pytest.mark.parametrize("chip", ["gfx1100", "gfx90a"])
def test_every_variant_compiles_and_needs_no_more_registers_than_there_are(chip: str) -> None:
    wave, kernels = ARCHITECTURES[chip].wave, {}
    profile = TIERS[f"wave{wave}"].profile
    for name, (*sizes, variant) in SHAPES.items():
        shape = replace(AttentionShape(*sizes, "float16"), variant=variant)
        plan = DecodePlan(shape, DECODE[wave], wave)
        made = {
            f"{name}_step": decode_attention(1, plan),
            f"{name}_prompt": prefill_kernel(profile, shape, Rows(ROW_TILE)),
        }
        kernels |= {key: func.with_attr("global_symbol", key) for key, func in made.items()}
    built = rocm_kernels.build(tvm.IRModule(kernels), [ARCHITECTURES[chip]])
    found = code_object_resources(chip, built.code_objects[chip].code)
    assert {kernel.name for kernel in found} == {f"{name}_kernel" for name in kernels}
    for kernel in found:
        assert spills(kernel) == defects(kernel) == [], f"{kernel.name} on {chip}"
