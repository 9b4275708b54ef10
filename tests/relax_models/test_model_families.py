"""What a maker's configuration says of its family, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ferrylm.compile.sources.config import normalize_config
from ferrylm.errors import UnsupportedModelError
from ferrylm.relax_models.config import model_config
from ferrylm.relax_models.decoder import canonical_weights
from ferrylm.runtime.manifest import ModelConfig
from tests.engine.tiny_sources import TinySource


def read(family: str, **changes: Any) -> ModelConfig:
    config = {**TinySource(family=family, head_dim=26).config(), **changes}
    return model_config(normalize_config(config, "config.json"))


def test_llama_and_mistral_add_nothing_to_the_decoder() -> None:
    for family in ("llama", "mistral"):
        config = read(family)
        assert not config.qkv_bias
        assert not config.head_norm
        assert not any("bias" in weight.name for weight in canonical_weights(config))


def test_qwen2_adds_biases_of_queries_keys_and_values() -> None:
    config = read("qwen2")
    (bias,) = (w for w in canonical_weights(config) if w.name == "layers.1.qkv_bias")
    assert bias.parts == tuple(f"model.layers.1.self_attn.{part}_proj.bias" for part in "qkv")
    assert (bias.rows, bias.columns) == (8 * 26, None)
    assert not read("qwen2", attention_bias=False).qkv_bias


def test_qwen3_adds_norms_of_query_and_key_heads() -> None:
    config = read("qwen3")
    (norm,) = (w for w in canonical_weights(config) if w.name == "layers.0.head_norm")
    assert norm.parts == tuple(f"model.layers.0.self_attn.{part}_norm.weight" for part in "qk")
    assert (norm.rows, norm.columns) == (2 * 26, None)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "biases of Llama": ("llama", {"attention_bias": True}),
    "a bias after attention in Qwen2": ("qwen2", {"attention_out_bias": True}),
    "biases of Qwen3": ("qwen3", {"attention_bias": True}),
    "biases of the feed-forward part": ("qwen2", {"mlp_bias": True}),
}


@pytest.mark.parametrize(("family", "changes"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_computed_is_refused(family: str, changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match="biases"):
        read(family, **changes)
