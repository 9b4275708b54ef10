"""Tiny random models as Hugging Face folders, each odd in a way that has broken kernels before."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@dataclass(frozen=True)
class TinySource:
    """The shape of a model; `vocabulary` must hold the tokenizer's 256 bytes and 2 specials."""

    hidden: int = 64
    inner: int = 96
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    vocabulary: int = 272
    context: int = 192
    tied: bool = True
    rope_scaling: dict[str, Any] = field(default_factory=dict, hash=False)
    theta: float = 10000.0
    family: str = "llama"
    settings: dict[str, Any] = field(default_factory=dict, hash=False)  # more of config.json

    def config(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return {
            "model_type": self.family,
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": self.theta,
            "rope_scaling": self.rope_scaling or None,
            "tie_word_embeddings": self.tied,
            "eos_token_id": 257,
            **self.settings,
        }

    def weights(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Return float32 weights by Hugging Face names; attention is sharp enough to matter."""
        generator = np.random.default_rng(seed)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            for name, shape in {
                "input_layernorm": (self.hidden,),
                "post_attention_layernorm": (self.hidden,),
                "self_attn.q_proj": (queries, self.hidden),
                "self_attn.k_proj": (keys, self.hidden),
                "self_attn.v_proj": (keys, self.hidden),
                "self_attn.o_proj": (self.hidden, queries),
                "mlp.gate_proj": (self.inner, self.hidden),
                "mlp.up_proj": (self.inner, self.hidden),
                "mlp.down_proj": (self.hidden, self.inner),
            }.items():
                shapes[f"model.layers.{layer}.{name}.weight"] = shape
            if self.family == "qwen2":
                for name, size in (("q", queries), ("k", keys), ("v", keys)):
                    shapes[f"model.layers.{layer}.self_attn.{name}_proj.bias"] = (size,)
            if self.family in ("qwen3", "gemma3_text"):
                for name in ("q_norm", "k_norm"):
                    shapes[f"model.layers.{layer}.self_attn.{name}.weight"] = (self.head_dim,)
            if self.family in ("gemma2", "gemma3_text"):
                for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
                    shapes[f"model.layers.{layer}.{name}.weight"] = (self.hidden,)
        weights = {name: _draw(generator, shape) for name, shape in shapes.items()}
        return fused(weights) if self.family == "phi3" else weights

    def write(self, folder: Path, *, seed: int = 0, bias: str = "", **config: Any) -> Path:
        """Write the model as a Hugging Face folder.

        `config` changes fields of config.json; `bias` names a matrix that gets a bias.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({**self.config(), **config}))
        weights = self.weights(seed)
        if bias:
            rows = len(weights[f"{bias}.weight"])
            weights[f"{bias}.bias"] = np.zeros(rows, np.float32)
        save_file(weights, folder / "model.safetensors")
        byte_tokenizer().save(str(folder / "tokenizer.json"))
        special = {"bos_token": "<s>", "eos_token": "</s>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(special))
        return folder


def fused(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights with q, k, v as one matrix, and gate and up as one, as Phi-3 has them."""
    found: dict[str, np.ndarray] = {}
    for name, weight in weights.items():
        name = re.sub(
            r"\.[qkv]_proj", ".qkv_proj", re.sub(r"\.(gate|up)_proj", ".gate_up_proj", name)
        )
        found[name] = np.concatenate([found[name], weight]) if name in found else weight
    return found


def _draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        return (0.5 + generator.random(shape)).astype(np.float32)
    scale = np.sqrt(3.0 / shape[1])
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def byte_tokenizer() -> Tokenizer:
    """Return a tokenizer of single bytes with <s> as 256 and </s> as 257."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer
