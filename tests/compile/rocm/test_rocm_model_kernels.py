"""The kernels of a whole model for AMD GPUs: every one fits its chip and spills nothing.

Attention spilled until loads from LDS were kept in their loops; see `llvm_text`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ferrylm.compile.library import ModelPlan
from ferrylm.compile.rocm.bundle import MAGIC, read_bundle
from ferrylm.compile.rocm.kernel_resources import (
    KernelResources,
    code_object_resources,
    defects,
    spills,
)
from ferrylm.compile.rocm_library import RocmJob
from ferrylm.compile.sources import open_source
from ferrylm.compile.weights import canonical
from ferrylm.relax_models.config import model_config
from ferrylm.relax_models.decoder import canonical_weights

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 128,
    "vocab_size": 512,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}


def kernels_of(folder: Path, tier: str, chip: str) -> list[KernelResources]:
    """Return the kernels of a model's library for one chip, read from the library's bytes."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with open_source(folder / "config.json") as source:
        config = model_config(source.config, None)
        weights = canonical(canonical_weights(config), source, "q4f16", "q4f16")
        plan = ModelPlan(config, weights.storage, "int16", "float16", (1,))
        built = RocmJob(plan, tier, (chip,)).run()
    bundle = built.code[built.code.index(MAGIC) :]
    (code,) = read_bundle(bundle).values()
    return code_object_resources(chip, code)


@pytest.mark.parametrize(
    ("tier", "chip"),
    [
        *[("wave32", "gfx10-3-generic"), ("wave64", "gfx906")],
        *[("wave32-matrix", "gfx1100"), ("wave64-matrix", "gfx90a")],
    ],
)
def test_every_kernel_of_a_model_fits_its_chip(tmp_path: Path, tier: str, chip: str) -> None:
    kernels = kernels_of(tmp_path, tier, chip)
    assert len(kernels) > 20
    assert {kernel.name: defects(kernel) for kernel in kernels if defects(kernel)} == {}
    assert {kernel.name: spills(kernel) for kernel in kernels if spills(kernel)} == {}
