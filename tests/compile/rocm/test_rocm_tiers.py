"""What a tier with matrix units has in common with one without: decode steps, to the letter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tvm
import tvm_ffi

from ferrylm.compile.library import ModelPlan, trace_model
from ferrylm.compile.rocm_tiers import TIERS
from ferrylm.compile.sources import open_source
from ferrylm.compile.targets import Chips, expand_targets
from ferrylm.compile.weights import canonical
from ferrylm.errors import UsageError
from ferrylm.relax_models.config import model_config
from ferrylm.relax_models.decoder import canonical_weights
from ferrylm.schedules.gpu.kernels import GpuKernels

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}


def kernels_of(folder: Path, tier: str) -> Mapping[str, Any]:
    """Return a model's TensorIR functions by name."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with open_source(folder / "config.json") as source:
        config = model_config(source.config, None)
        weights = canonical(canonical_weights(config), source, "q4f16", "q4f16")
    plan = ModelPlan(config, weights.storage, "int16", "float16", (1, 4))
    profile = TIERS[tier].profile
    kernels = GpuKernels(profile, "int16", replace(plan, kv_dtype="float16").attention_shape)
    found = trace_model(plan, kernels).module.functions_items()
    return {
        variable.name_hint: func for variable, func in found if isinstance(func, tvm.tirx.PrimFunc)
    }


@pytest.mark.parametrize("wave", ["wave32", "wave64"])
def test_decode_steps_are_those_of_chips_without_matrix_units(tmp_path: Path, wave: str) -> None:
    plain, matrix = kernels_of(tmp_path, wave), kernels_of(tmp_path, f"{wave}-matrix")
    decode = {name for name in plain if "_batch" in name}
    assert len(decode) >= 12
    assert decode == {name for name in matrix if "_batch" in name}
    for name in decode:
        same = tvm_ffi.structural_equal(plain[name], matrix[name], map_free_vars=True)
        assert same, name
    assert any("_f16_" in name for name in matrix)
    assert not any("_f16_" in name for name in plain)


def test_a_bare_rocm_takes_the_tiers_of_the_listed_chips() -> None:
    assert expand_targets(["rocm"]) == [f"rocm-{tier}" for tier in TIERS]
    chosen = expand_targets(["rocm"], Chips(rocm=("gfx1030", "gfx1201", "gfx942")))
    assert chosen == ["rocm-wave32", "rocm-wave32-matrix", "rocm-wave64-matrix"]
    with pytest.raises(UsageError, match="without a chip"):
        expand_targets(["rocm-wave32"], Chips(rocm=("gfx1100",)))
