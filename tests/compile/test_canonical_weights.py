"""Canonical tensors beside what a folder stores, where a family folds something into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ferrylm.compile.sources import open_source
from ferrylm.compile.weights import canonical, encoded
from ferrylm.relax_models.config import model_config
from ferrylm.relax_models.decoder import canonical_weights
from ferrylm.runtime.progress import ignore_progress
from tests.engine.tiny_sources import TinySource

Array = np.ndarray


def read(source: TinySource, folder: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return canonical tensors in q0f32, and the stored ones."""
    with open_source(source.write(folder)) as opened:
        config = model_config(opened.config)
        weights = canonical(canonical_weights(config), opened, "q0f32", "q0f32")
        found = dict(encoded(weights, opened, ignore_progress))
    assert {spec.name: spec.shape for spec in weights.specs()} == {
        name: array.shape for name, array in found.items()
    }
    return found, source.weights()


def test_gains_of_gemma_are_whole_and_its_table_is_scaled(tmp_path: Path) -> None:
    source = TinySource(hidden=100, layers=1, family="gemma", settings={"hidden_act": "gelu"})
    found, stored = read(source, tmp_path)
    close = np.testing.assert_allclose
    close(found["embedding.weight"], stored["model.embed_tokens.weight"] * 10.0, rtol=1e-6)
    close(found["final_norm"], (1 + stored["model.norm.weight"]) / 10, rtol=1e-6)
    theirs = stored["model.layers.0.input_layernorm.weight"]
    close(found["layers.0.attention_norm"], 1 + theirs, rtol=1e-6)
    down = stored["model.layers.0.mlp.down_proj.weight"]
    np.testing.assert_array_equal(found["layers.0.down.weight"], down)


def test_biases_and_norms_of_heads_lie_one_after_the_other(tmp_path: Path) -> None:
    attention = "model.layers.1.self_attn."
    found, stored = read(TinySource(family="qwen2"), tmp_path / "qwen2")
    biases = [stored[f"{attention}{part}_proj.bias"] for part in "qkv"]
    np.testing.assert_array_equal(found["layers.1.qkv_bias"], np.concatenate(biases))
    found, stored = read(TinySource(family="qwen3"), tmp_path / "qwen3")
    norms = [stored[f"{attention}{part}_norm.weight"] for part in "qk"]
    np.testing.assert_array_equal(found["layers.1.head_norm"], np.concatenate(norms))


def test_fused_matrices_of_phi3_are_the_canonical_ones(tmp_path: Path) -> None:
    found, stored = read(TinySource(family="phi3"), tmp_path)
    for ours, theirs in (("qkv", "self_attn.qkv_proj"), ("gate_up", "mlp.gate_up_proj")):
        np.testing.assert_array_equal(
            found[f"layers.0.{ours}.weight"], stored[f"model.layers.0.{theirs}.weight"]
        )
