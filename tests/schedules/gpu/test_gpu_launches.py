"""The kernels that a decode step launches, as the model is traced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tvm import ir

from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.relax_models.decoder import Decoder, canonical_weights
from ferrylm.relax_models.step import export_step_functions
from ferrylm.runtime.manifest import ModelConfig, RopeConfig
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.kernels import MatrixStorage
from ferrylm.schedules.gpu.kernels import GpuKernels
from ferrylm.schedules.gpu.overlap import DEPENDENT_LAUNCH, LAUNCH_PARAMS
from ferrylm.schedules.gpu.profile import GpuProfile
from tests.schedules.gpu.vulkan_runner import DOT

LAYERS = 3
CONFIG = ModelConfig(
    "llama", 64, 96, LAYERS, 4, 2, 16, 272, 64, 1e-5, True, RopeConfig("default", 10000.0)
)


def launches(config: ModelConfig, profile: GpuProfile, batch: int) -> tuple[Any, list[str]]:
    """Return the traced module, and the names of a decode step's kernels in their order."""
    storage = {
        weight.name: MatrixStorage(weight.rows, weight.columns, "q4")
        for weight in canonical_weights(config)
        if weight.columns is not None
    }
    eps = config.norm_eps if config.head_norm else None
    sizes = (config.num_heads, config.num_kv_heads, config.head_dim)
    shape = AttentionShape(*sizes, "float16", head_norm_eps=eps)
    kernels = GpuKernels(profile, "int16", shape)
    model = Decoder(config, kernels, storage)
    module, _ = export_step_functions(model, kernels, config, (batch,))
    step = module[f"decode_{batch}"]
    calls = [binding.value for block in step.body.blocks for binding in block.bindings]
    return module, [
        call.args[0].name_hint
        for call in calls
        if isinstance(call, ir.Call) and len(call.args) and isinstance(call.args[0], ir.GlobalVar)
    ]


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, qkv_bias=True), replace(CONFIG, head_norm=True)],
    ids=["llama", "biases", "norms of heads"],
)
def test_a_layer_of_a_decode_step_is_five_launches(config: ModelConfig) -> None:
    for batch in (1, 2):
        _, names = launches(config, DOT, batch)
        around = [f"embed_batch{batch}", f"quantize_gained_64_batch{batch}"]
        assert names[:2] == around
        assert len(names) == 2 + 5 * LAYERS + 1, names
        assert names.count(f"rope_attention_batch{batch}") == LAYERS


def test_a_layer_with_norms_of_what_is_added_is_seven() -> None:
    config = replace(CONFIG, family="gemma2", post_norms=True, activation="geglu", logit_cap=30.0)
    _, names = launches(config, DOT, 1)
    assert len(names) == 2 + 7 * LAYERS + 1, names
    assert names.count("norm_add_prepared_64_batch1") == 2 * LAYERS
    assert names[-1].startswith("normed_capped_")


def test_heads_that_fill_no_groups_of_columns_are_merged_by_a_kernel_of_its_own() -> None:
    _, names = launches(replace(CONFIG, head_dim=18), DOT, 1)
    assert names.count("rope_attention_batch1") == names.count("merge_attention_batch1") == LAYERS


def test_where_kernels_overlap_only_a_steps_first_one_waits_for_everything_before() -> None:
    module, names = launches(CONFIG, TIERS["sm90"].profile, 1)

    def depends(name: str) -> bool:
        return DEPENDENT_LAUNCH in [str(tag) for tag in module[name].attrs[LAUNCH_PARAMS]]

    assert [name for name in names if not depends(name)] == ["embed_batch1"]
    assert "ferrylm.grid_dependency_wait" not in module["embed_batch1"].script()
    assert "ferrylm.launch_dependents" in module["embed_batch1"].script()
