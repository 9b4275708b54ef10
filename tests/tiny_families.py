"""Tiny models of the families other than Llama, with weights that anyone can make again."""

from __future__ import annotations

import numpy as np

from ferrylm.runtime.manifest import AttentionVariant, ModelConfig, RopeConfig
from tests.tiny_llama import TinyLlama, tiny_model

FAMILIES = {
    "qwen2": ModelConfig(
        family="qwen2",
        hidden_size=60,
        intermediate_size=90,
        num_layers=2,
        num_heads=6,
        num_kv_heads=2,
        head_dim=10,
        vocab_size=83,
        context_length=256,
        norm_eps=1e-6,
        tied_embedding=True,
        rope=RopeConfig("default", 1000000.0),
        qkv_bias=True,
    ),
    "qwen3": ModelConfig(
        family="qwen3",
        hidden_size=72,
        intermediate_size=100,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=26,
        vocab_size=83,
        context_length=256,
        norm_eps=1e-6,
        tied_embedding=False,
        rope=RopeConfig("default", 1000000.0),
        head_norm=True,
    ),
    # A tenth of the tokens is within the window.
    "mistral": ModelConfig(
        family="mistral",
        hidden_size=48,
        intermediate_size=80,
        num_layers=2,
        num_heads=6,
        num_kv_heads=2,
        head_dim=16,
        vocab_size=83,
        context_length=256,
        norm_eps=1e-5,
        tied_embedding=False,
        rope=RopeConfig("default", 10000.0),
        attention=(AttentionVariant(window_tokens=16),) * 2,
    ),
    "gemma": ModelConfig(
        family="gemma",
        hidden_size=72,
        intermediate_size=100,
        num_layers=2,
        num_heads=4,
        num_kv_heads=1,
        head_dim=22,
        vocab_size=83,
        context_length=256,
        norm_eps=1e-6,
        tied_embedding=True,
        rope=RopeConfig("default", 10000.0),
        activation="geglu",
    ),
    # The window and the caps are small, so that they matter here.
    "gemma2": ModelConfig(
        family="gemma2",
        hidden_size=72,
        intermediate_size=100,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=22,
        vocab_size=83,
        context_length=256,
        norm_eps=1e-6,
        tied_embedding=True,
        rope=RopeConfig("default", 10000.0),
        attention=tuple(
            AttentionVariant(window, 4.0, score_scale=30**-0.5) for window in (24, None, 24)
        ),
        post_norms=True,
        activation="geglu",
        logit_cap=3.0,
    ),
    "phi3": ModelConfig(
        family="phi3",
        hidden_size=64,
        intermediate_size=90,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        head_dim=16,
        vocab_size=83,
        context_length=256,
        norm_eps=1e-5,
        tied_embedding=False,
        rope=RopeConfig("default", 10000.0),
        attention=(AttentionVariant(window_tokens=40),) * 2,
    ),
    "gemma3": ModelConfig(
        family="gemma3_text",
        hidden_size=72,
        intermediate_size=100,
        num_layers=3,
        num_heads=4,
        num_kv_heads=1,
        head_dim=22,
        vocab_size=83,
        context_length=256,
        norm_eps=1e-6,
        tied_embedding=True,
        rope=RopeConfig("linear", 1000000.0, {"factor": 4.0}),
        attention=tuple(
            AttentionVariant(window, score_scale=30**-0.5, local_rope=window is not None)
            for window in (24, 24, None)
        ),
        head_norm=True,
        post_norms=True,
        activation="geglu",
        local_rope=RopeConfig("default", 10000.0),
    ),
}


def tiny_family(name: str) -> TinyLlama:
    """Make the model of `FAMILIES[name]`."""
    seed = 30_000 + list(FAMILIES).index(name)
    return tiny_model(FAMILIES[name], np.random.Generator(np.random.Philox(seed)))
