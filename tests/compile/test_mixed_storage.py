"""Models whose matrices are stored in different ways, traced with the kernels of GPUs."""

from __future__ import annotations

import pytest

from ferrylm.compile.cuda.tiers import TIERS as CUDA_TIERS
from ferrylm.compile.library import ModelPlan, product_arithmetic, trace_model
from ferrylm.compile.vulkan_tiers import TIERS as VULKAN_TIERS
from ferrylm.relax_models.config import model_config
from ferrylm.schedules.cpu.kernels import MatrixStorage
from ferrylm.schedules.gpu.kernels import GpuKernels

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 260,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}
SHAPES = {
    "embedding": (260, 64),
    "layers.0.qkv": (128, 64),
    "layers.0.attention_out": (64, 64),
    "layers.0.gate_up": (192, 64),
    "layers.0.down": (64, 96),
}
PROFILES = {
    "vulkan-subgroup8-dot": VULKAN_TIERS["subgroup8-dot"].profile,
    "vulkan-subgroup32-matrix": VULKAN_TIERS["subgroup32-matrix"].profile,
    "cuda-sm90": CUDA_TIERS["sm90"].profile,
}


def plan(kinds: tuple[str, ...]) -> ModelPlan:
    storage = {
        name: MatrixStorage(*shape, kind, False)
        for (name, shape), kind in zip(SHAPES.items(), kinds, strict=True)
    }
    arithmetic = product_arithmetic(storage, "int16")
    return ModelPlan(model_config(CONFIG), storage, arithmetic, "float16", (1, 2), rounded=True)


@pytest.mark.parametrize("layer", [("q4", "f16", "q4", "f16"), ("f16", "q4", "f16", "q4")])
@pytest.mark.parametrize("target", PROFILES)
def test_a_quantized_matrix_may_stand_beside_one_that_is_not(
    target: str, layer: tuple[str, ...]
) -> None:
    profile, made = PROFILES[target], plan(("q8", *layer))
    arithmetic = profile.arithmetic(made.arithmetic)
    kernels = GpuKernels(profile, arithmetic, made.attention_shape, rounded=made.rounded)
    assert trace_model(made, kernels).checks


def test_layers_that_are_not_quantized_are_computed_in_floats() -> None:
    assert plan(("q8", "f16", "f16", "f16", "f16")).arithmetic == "f32"
    assert plan(("f16", "f16", "f16", "f16", "q4")).arithmetic == "int16"


@pytest.mark.parametrize("rounded", [False, True])
def test_prompts_meet_float16_weights_on_matrix_units_unless_floats_are_wanted(
    rounded: bool,
) -> None:
    kernels = GpuKernels(
        PROFILES["cuda-sm90"], "f32", plan(("f16",) * 5).attention_shape, rounded=rounded
    )
    prompt, step = kernels.rows(None), kernels.rows(8)
    assert kernels.product_arithmetic(prompt, "f16", 96) == ("f16" if rounded else "f32")
    assert kernels.product_arithmetic(prompt, "f16", 100) == "f32"  # rows not of 16 bytes
    assert kernels.product_arithmetic(step, "f16", 96) == "f32"
