"""Tiny Llamas with random weights that anyone can make again from a seed, one per RoPE kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferrylm.runtime.manifest import ModelConfig, RopeConfig

TOKENS = 160
_ORIGINAL = {"original_max_position_embeddings": 64.0}
_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

ROPES = {
    "default": RopeConfig("default", 500000.0),
    "linear": RopeConfig("linear", 10000.0, {"factor": 4.0}),
    "llama3": RopeConfig("llama3", 500000.0, _LLAMA3 | _ORIGINAL),
    "yarn": RopeConfig("yarn", 10000.0, {"factor": 4.0} | _ORIGINAL),
    "yarn_tuned": RopeConfig(
        "yarn",
        100000.0,
        {"factor": 8.0, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.7}
        | _ORIGINAL,
    ),
    "yarn_factor": RopeConfig(
        "yarn", 10000.0, {"factor": 2.5, "attention_factor": 1.25, "truncate": 0.0} | _ORIGINAL
    ),
}


@dataclass(frozen=True)
class TinyLlama:
    """A model and a prompt; weights are float32 under their canonical names."""

    config: ModelConfig
    weights: dict[str, NDArray[np.float32]]
    token_ids: NDArray[np.int32]


def tiny_llama(rope_name: str) -> TinyLlama:
    """Make the model of `ROPES[rope_name]`; names in odd places have a head of their own."""
    order = list(ROPES).index(rope_name)
    config = ModelConfig(
        family="llama",
        hidden_size=64,
        intermediate_size=96,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32 if order == 0 else 16,
        vocab_size=80,
        context_length=256,
        norm_eps=1e-5,
        tied_embedding=order % 2 == 0,
        rope=ROPES[rope_name],
    )
    # Philox gives the same stream on every platform and in every numpy release.
    generator = np.random.Generator(np.random.Philox(20_000 + order))
    return tiny_model(config, generator)


def tiny_model(config: ModelConfig, generator: np.random.Generator) -> TinyLlama:
    """Make random weights and tokens for a configuration."""
    weights = {name: _draw(generator, shape) for name, shape in _shapes(config).items()}
    token_ids = generator.integers(0, config.vocab_size, TOKENS).astype(np.int32)
    return TinyLlama(config, weights, token_ids)


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, query = config.hidden_size, config.num_heads * config.head_dim
    qkv = query + 2 * config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"embedding": (config.vocab_size, hidden)}
    for index in range(config.num_layers):
        shapes |= {
            f"layers.{index}.attention_norm": (hidden,),
            f"layers.{index}.qkv": (qkv, hidden),
            f"layers.{index}.attention_out": (hidden, query),
            f"layers.{index}.feed_forward_norm": (hidden,),
            f"layers.{index}.gate_up": (2 * config.intermediate_size, hidden),
            f"layers.{index}.down": (hidden, config.intermediate_size),
        }
        if config.qkv_bias:
            shapes[f"layers.{index}.qkv_bias"] = (qkv,)
        if config.head_norm:
            shapes[f"layers.{index}.head_norm"] = (2 * config.head_dim,)
        if config.post_norms:
            shapes[f"layers.{index}.attention_post_norm"] = (hidden,)
            shapes[f"layers.{index}.feed_forward_post_norm"] = (hidden,)
    shapes["final_norm"] = (hidden,)
    if not config.tied_embedding:
        shapes["head"] = (config.vocab_size, hidden)
    return shapes


def _draw(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    # Uniform numbers are exact products of the generator's bits; normal ones would depend on
    # the platform's logarithm. Large q and k make attention sharp, so that positions matter.
    uniform = generator.random(shape, dtype=np.float32)
    if len(shape) == 1:
        return np.float32(0.5) + uniform
    return (uniform - np.float32(0.5)) * np.float32(8.0 / np.sqrt(shape[1]))
