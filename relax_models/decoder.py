"""The decoder that all families share: RMSNorm, rotary grouped-query attention, SwiGLU.

That is Llama (arXiv 2302.13971, 2307.09288). What a family adds is data in the ModelConfig, which
its own file reads off the maker's configuration. The step is static: pages, block tables, positions
and tokens are device tensors, and pages are updated in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tvm.relax.frontend import nn

from ferrylm.relax_models import FAMILIES
from ferrylm.relax_models.family import Family
from ferrylm.relax_models.step import DrawState, Step
from ferrylm.relax_models.weights import WeightSource, linear, vector
from ferrylm.runtime.manifest import ModelConfig
from ferrylm.schedules.attention_layer import LayerAttention
from ferrylm.schedules.post_norm import PostNorm

Tensor = Any
Kernels = Any
Storage = Mapping[str, Any]  # canonical matrix name -> how it is stored


def canonical_weights(config: ModelConfig) -> list[WeightSource]:
    """Return the canonical tensors of the model and the Hugging Face tensors they are made of."""
    hidden, family = config.hidden_size, FAMILIES[config.family]
    embedding = linear("embedding", ["model.embed_tokens.weight"], config.vocab_size, hidden)
    final = vector("final_norm", ["model.norm.weight"], hidden, family.gain_offset)
    if family.scaled_embedding:
        embedding = replace(embedding, scale=math.sqrt(hidden))
    if family.scaled_embedding and config.tied_embedding:
        # What multiplies the head as well is taken out of the gain before it.
        final = replace(final, scale=1 / math.sqrt(hidden))
    found = [embedding]
    for index in range(config.num_layers):
        found += _attention_weights(config, index, family)
        found += _feed_forward_weights(config, index, family)
    found.append(final)
    if not config.tied_embedding:
        found.append(linear("head", ["lm_head.weight"], config.vocab_size, hidden))
    return found


def _attention_weights(config: ModelConfig, index: int, family: Family) -> list[WeightSource]:
    offset = family.gain_offset
    theirs, ours = f"model.layers.{index}", f"layers.{index}"
    attention, hidden = f"{theirs}.self_attn", config.hidden_size
    projections = ["qkv"] if family.fused else list("qkv")
    qkv = [f"{attention}.{part}_proj.weight" for part in projections]
    found = [
        vector(f"{ours}.attention_norm", [f"{theirs}.input_layernorm.weight"], hidden, offset),
        linear(f"{ours}.qkv", qkv, config.qkv_width, hidden),
    ]
    if config.qkv_bias:
        biases = [f"{attention}.{part}_proj.bias" for part in "qkv"]
        found.append(vector(f"{ours}.qkv_bias", biases, config.qkv_width))
    if config.head_norm:
        norms = [f"{attention}.{part}_norm.weight" for part in "qk"]
        found.append(vector(f"{ours}.head_norm", norms, 2 * config.head_dim, offset))
    if config.layer_attention(index).sinks:
        sinks = [f"{attention}.sinks"]
        found.append(vector(f"{ours}.attention_sinks", sinks, config.num_heads))
    out = [f"{attention}.o_proj.weight"]
    found.append(linear(f"{ours}.attention_out", out, hidden, config.query_width))
    if config.post_norms:
        post = [f"{theirs}.post_attention_layernorm.weight"]
        found.append(vector(f"{ours}.attention_post_norm", post, hidden, offset))
    return found


def _feed_forward_weights(config: ModelConfig, index: int, family: Family) -> list[WeightSource]:
    offset = family.gain_offset
    theirs, ours = f"model.layers.{index}", f"layers.{index}"
    hidden, inner = config.hidden_size, config.intermediate_size
    before = "pre_feedforward_layernorm" if config.post_norms else "post_attention_layernorm"
    projections = ["gate_up"] if family.fused else ["gate", "up"]
    gate_up = [f"{theirs}.mlp.{part}_proj.weight" for part in projections]
    found = [
        vector(f"{ours}.feed_forward_norm", [f"{theirs}.{before}.weight"], hidden, offset),
        linear(f"{ours}.gate_up", gate_up, 2 * inner, hidden),
        linear(f"{ours}.down", [f"{theirs}.mlp.down_proj.weight"], hidden, inner),
    ]
    if config.post_norms:
        post = [f"{theirs}.post_feedforward_layernorm.weight"]
        found.append(vector(f"{ours}.feed_forward_post_norm", post, hidden, offset))
    return found


class Layer(nn.Module):  # type: ignore[misc]
    """One transformer layer."""

    def __init__(self, config: ModelConfig, kernels: Kernels, storage: Storage, index: int) -> None:
        super().__init__()
        self.config, self.kernels = config, kernels
        name = f"layers.{index}"
        self.attention_norm = nn.Parameter((config.hidden_size,), "float32")
        self.qkv = kernels.matrix(storage[f"{name}.qkv"])
        self.variant = config.layer_attention(index)
        self.qkv_bias = self.head_norm = self.attention_sinks = None
        if config.qkv_bias:
            self.qkv_bias = nn.Parameter((config.qkv_width,), "float32")
        if config.head_norm:
            self.head_norm = nn.Parameter((2 * config.head_dim,), "float32")
        if self.variant.sinks:
            self.attention_sinks = nn.Parameter((config.num_heads,), "float32")
        self.attention_out = kernels.matrix(storage[f"{name}.attention_out"])
        self.feed_forward_norm = nn.Parameter((config.hidden_size,), "float32")
        self.gate_up = kernels.matrix(storage[f"{name}.gate_up"], pairs=True)
        self.down = kernels.matrix(storage[f"{name}.down"])
        self.attention_post_norm = self.feed_forward_post_norm = None
        if config.post_norms:
            self.attention_post_norm = nn.Parameter((config.hidden_size,), "float32")
            self.feed_forward_post_norm = nn.Parameter((config.hidden_size,), "float32")

    def forward(
        self, x: Tensor, step: Step, keys: Tensor, values: Tensor, next_gain: Tensor
    ) -> Tensor:
        """Return x (M, padded(H)) after the layer; keys and values are this layer's pages.

        `next_gain` is the gain of the norm that comes after it: kernels may begin with that.
        """
        kernels, eps, rows = self.kernels, self.config.norm_eps, step.rows
        epilogue = "plain" if self.qkv_bias is None else "bias"
        qkv = kernels.norm_linear(
            rows, x, self.attention_norm, self.qkv, eps, epilogue, self.qkv_bias
        )
        layer = LayerAttention(self.variant, self.head_norm, self.attention_sinks)
        h = kernels.rope_attention(rows, qkv, step, keys, values, layer)
        post = self._post(self.attention_post_norm)
        x = kernels.linear(rows, h, self.attention_out, x, self.feed_forward_norm, post)
        activation = self.config.activation
        h = kernels.norm_linear(rows, x, self.feed_forward_norm, self.gate_up, eps, activation)
        post = self._post(self.feed_forward_post_norm)
        return kernels.linear(rows, h, self.down, x, next_gain, post)

    def _post(self, gain: Tensor | None) -> PostNorm | None:
        return None if gain is None else PostNorm(gain, self.config.norm_eps)


class Decoder(nn.Module):  # type: ignore[misc]
    """The whole model; its methods are the functions of a library."""

    def __init__(self, config: ModelConfig, kernels: Kernels, storage: Storage) -> None:
        super().__init__()
        self.config, self.kernels = config, kernels
        self.embedding = kernels.matrix(storage["embedding"])
        self.layers = nn.ModuleList(
            [Layer(config, kernels, storage, i) for i in range(config.num_layers)]
        )
        self.final_norm = nn.Parameter((config.hidden_size,), "float32")
        if not config.tied_embedding:
            self.head = kernels.matrix(storage["head"])

    def _hidden(self, step: Step) -> Tensor:
        x = self.kernels.embed(step.rows, step.tokens, self.embedding)
        gains = [*(layer.attention_norm for layer in self.layers), self.final_norm]
        for i, layer in enumerate(self.layers):
            x = layer(x, step, step.keys[i], step.values[i], gains[i + 1])
        return x

    def _logits(self, rows: Any, x: Tensor) -> Tensor:
        head = self.embedding if self.config.tied_embedding else self.head
        cap, eps = self.config.logit_cap, self.config.norm_eps
        if cap is None:
            return self.kernels.norm_linear(rows, x, self.final_norm, head, eps, "plain")
        return self.kernels.norm_linear(rows, x, self.final_norm, head, eps, "capped", None, cap)

    def decode(self, step: Step) -> Tensor:
        """Return logits float32 (B, padded(V)) after one token of each of B sequences."""
        return self._logits(step.rows, self._hidden(step))

    def generate(self, step: Step, state: DrawState) -> Tensor:
        """Decode and draw each sequence's next token; return the ring of reports."""
        return self.kernels.draw(self.config.vocab_size, self.decode(step), step, state)

    def prefill(self, step: Step, last_row: Tensor) -> Tensor:
        """Return logits float32 (1, padded(V)) after row `last_row[0]` of one sequence's chunk."""
        hidden, one = self._hidden(step), self.kernels.rows(1)
        last = self.kernels.select_row(step.rows, hidden, last_row, self.config.hidden_size)
        return self._logits(one, last)

    def score(self, step: Step) -> Tensor:
        """Return logits float32 (M, padded(V)) after every row of one sequence's chunk."""
        return self._logits(step.rows, self._hidden(step))
