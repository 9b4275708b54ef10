"""Plain float32 matrices under canonical names, from a model source or from an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.quantize import decode
from ferrylm.compile.sources.source import SourceTensor
from ferrylm.runtime.manifest import ModelConfig

if TYPE_CHECKING:
    from ferrylm.runtime.artifact import Artifact

Weights = dict[str, NDArray[np.float32]]


def source_weights(tensors: Mapping[str, SourceTensor], config: ModelConfig) -> Weights:
    """Dequantize the tensors of a source, which have Hugging Face's names."""

    def read(*names: str, kind: str = "weight") -> NDArray[np.float32]:
        return np.concatenate([tensors[f"{name}.{kind}"].dequantize() for name in names])

    weights = {"embedding": read("model.embed_tokens"), "final_norm": read("model.norm")}
    if not config.tied_embedding:
        weights["head"] = read("lm_head")
    for index in range(config.num_layers):
        ours, theirs = f"layers.{index}.", f"model.layers.{index}."
        attention, feed_forward = theirs + "self_attn.", theirs + "mlp."
        weights |= {
            ours + "attention_norm": read(theirs + "input_layernorm"),
            ours + "qkv": read(*(f"{attention}{part}_proj" for part in "qkv")),
            ours + "attention_out": read(attention + "o_proj"),
            ours + "feed_forward_norm": read(theirs + "post_attention_layernorm"),
            ours + "gate_up": read(feed_forward + "gate_proj", feed_forward + "up_proj"),
            ours + "down": read(feed_forward + "down_proj"),
        }
        if config.qkv_bias:
            projections = [f"{attention}{part}_proj" for part in "qkv"]
            weights[ours + "qkv_bias"] = read(*projections, kind="bias")
        if config.head_norm:
            weights[ours + "head_norm"] = read(*(f"{attention}{part}_norm" for part in "qk"))
    return weights


def artifact_weights(artifact: Artifact) -> Weights:
    """Decode the canonical weights of an artifact."""
    manifest = artifact.manifest
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    weights: Weights = {}
    for entry in manifest.weights.tensors:
        name, _, suffix = entry.name.rpartition(".")
        if suffix in ("codes", "scale", "minimum", "weight"):
            parts.setdefault(name, {})[suffix] = artifact.read_tensor(entry.name)
        else:
            weights[entry.name] = np.asarray(artifact.read_tensor(entry.name), np.float32)
    for name, arrays in parts.items():
        weights[name] = decode(arrays, _scheme(arrays), _columns(name, manifest.model))
    return weights


def _scheme(arrays: Mapping[str, NDArray[Any]]) -> str:
    if "weight" in arrays:
        return "q0f16" if arrays["weight"].dtype == np.float16 else "q0f32"
    return "q4f16" if arrays["codes"].dtype == np.uint8 else "q8f16"


def _columns(name: str, config: ModelConfig) -> int:
    kind = name.rpartition(".")[2]
    if kind == "down":
        return config.intermediate_size
    if kind == "attention_out":
        return config.num_heads * config.head_dim
    return config.hidden_size
