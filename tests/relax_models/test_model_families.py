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


def test_phi3_has_fused_matrices_and_rotates_whole_heads() -> None:
    names = {weight.name: weight.parts for weight in canonical_weights(read("phi3"))}
    assert names["layers.0.qkv"] == ("model.layers.0.self_attn.qkv_proj.weight",)
    assert names["layers.0.gate_up"] == ("model.layers.0.mlp.gate_up_proj.weight",)
    with pytest.raises(UnsupportedModelError, match="partial_rotary_factor"):
        read("phi3", partial_rotary_factor=0.75)
    with pytest.raises(UnsupportedModelError, match="longrope"):
        read("phi3", rope_scaling={"type": "longrope", "long_factor": [1.0]})


GEMMA2 = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "query_pre_attn_scalar": 64,
    "sliding_window": 100,
}


def test_gemma_folds_its_conventions_into_weights() -> None:
    config = read("gemma", hidden_act="gelu")
    weights = {weight.name: weight for weight in canonical_weights(config)}
    assert config.activation == "geglu"
    assert not config.post_norms
    assert weights["embedding"].scale == 8.0, "the square root of the hidden size"
    assert (weights["final_norm"].offset, weights["final_norm"].scale) == (1.0, 1 / 8.0)
    assert (weights["layers.0.attention_norm"].offset, weights["layers.0.qkv"].offset) == (1, 0)
    untied = {w.name: w for w in canonical_weights(read("gemma", tie_word_embeddings=False))}
    assert (untied["final_norm"].scale, untied["head"].scale) == (1.0, 1.0)


def test_gemma2_has_norms_after_its_parts_and_capped_logits() -> None:
    config = read("gemma2", **GEMMA2)
    names = {weight.name: weight.parts for weight in canonical_weights(config)}
    theirs = "model.layers.0."
    for ours, part in {
        "attention_post_norm": "post_attention_layernorm",
        "feed_forward_norm": "pre_feedforward_layernorm",
        "feed_forward_post_norm": "post_feedforward_layernorm",
    }.items():
        assert names[f"layers.0.{ours}"] == (f"{theirs}{part}.weight",)
    assert (config.logit_cap, config.layer_attention(0).soft_cap) == (30.0, 50.0)
    assert [config.layer_attention(i).window_tokens for i in (0, 1)] == [100, None]
    assert read("gemma2", **{**GEMMA2, "final_logit_softcapping": None}).logit_cap is None


GEMMA3 = {
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 64,
    "sliding_window": 100,
    "sliding_window_pattern": 2,
    "rope_local_base_freq": 1234.0,
}


def test_gemma3_rotates_layers_with_a_window_by_a_rope_of_their_own() -> None:
    config = read("gemma3_text", **GEMMA3, rope_theta=1e6)
    local, whole = (config.layer_attention(layer) for layer in (0, 1))
    assert (config.rope_of(local).theta, config.rope_of(whole).theta) == (1234.0, 1e6)
    assert (local.window_tokens, whole.window_tokens) == (100, None)
    norms = {w.name: w.offset for w in canonical_weights(config) if "norm" in w.name}
    assert set(norms.values()) == {1.0}
    assert "layers.1.head_norm" in norms


def test_a_window_that_the_context_never_fills_leaves_the_rope_as_it_is() -> None:
    config = read("gemma3_text", **{**GEMMA3, "sliding_window": 10_000})
    assert [config.layer_attention(layer).window_tokens for layer in (0, 1)] == [None, None]
    assert [config.layer_attention(layer).local_rope for layer in (0, 1)] == [True, False]


def test_gemma3_says_its_ropes_in_transformers_5s_way_too() -> None:
    parts = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
    }
    changes = {**GEMMA3, "rope_local_base_freq": None, "rope_theta": None}
    config = read("gemma3_text", **changes, rope_parameters=parts)
    assert (config.rope.kind, config.rope.theta, config.rope.parameters) == (
        "linear", 1e6, {"factor": 8.0}
    )  # fmt: skip
    assert config.local_rope is not None
    assert config.local_rope.theta == 500.0


BAD_GEMMA3: dict[str, dict[str, Any]] = {
    "rope_local_base_freq": {"rope_local_base_freq": "10000"},
    "sliding_window_pattern": {"sliding_window_pattern": 0},
    "sliding_window": {"sliding_window": None},
}


@pytest.mark.parametrize("named", BAD_GEMMA3)
def test_a_gemma3_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(UnsupportedModelError, match=named):
        read("gemma3_text", **{**GEMMA3, **BAD_GEMMA3[named]})


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "biases of Llama": ("llama", {"attention_bias": True}),
    "a bias after attention in Qwen2": ("qwen2", {"attention_out_bias": True}),
    "biases of Qwen3": ("qwen3", {"attention_bias": True}),
    "biases of Gemma": ("gemma", {"attention_bias": True, "hidden_act": "gelu"}),
    "biases of the feed-forward part": ("qwen2", {"mlp_bias": True}),
}


@pytest.mark.parametrize(("family", "changes"), REFUSED.values(), ids=REFUSED.keys())
def test_biases_that_are_not_computed_are_refused(family: str, changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match="biases"):
        read(family, **changes)


BAD_GEMMA2 = {
    "another gate": ({"hidden_activation": "silu"}, "activation"),
    "a cap of 0": ({"final_logit_softcapping": 0}, "final_logit_softcapping"),
    "a cap in quotes": ({"final_logit_softcapping": "30"}, "final_logit_softcapping"),
}


@pytest.mark.parametrize(("changes", "named"), BAD_GEMMA2.values(), ids=BAD_GEMMA2.keys())
def test_a_gemma2_that_is_none_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModelError, match=named):
        read("gemma2", **{**GEMMA2, **changes})


@pytest.mark.parametrize("key", [key for key in GEMMA2 if key != "hidden_activation"])
def test_a_gemma2_that_does_not_state_its_settings_is_refused(key: str) -> None:
    with pytest.raises(UnsupportedModelError, match=key):
        read("gemma2", **{name: value for name, value in GEMMA2.items() if name != key})


def test_a_gate_of_another_family_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="gelu"):
        read("qwen2", hidden_act="gelu")
    with pytest.raises(UnsupportedModelError, match="silu"):
        read("gemma", hidden_act="silu")
