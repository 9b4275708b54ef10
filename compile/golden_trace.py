"""A greedy continuation by a plain Llama on the stored weights: what the engine must say too.

A draft in float32 says quickly what probably comes next; one pass in float64 over the whole text
then decides. Where the draft is wrong, it goes on from the right token. So every stored number is
of the float64 pass, which is exact to about 1e-12 whatever machine and linear algebra library
does it, and it is rounded far more coarsely than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.golden_reference import (
    alibi_slopes,
    decode,
    gelu,
    norm_factors,
    rope_frequencies,
    silu,
)
from ferrylm.runtime.golden_format import Trace, TraceStep
from ferrylm.runtime.manifest import AttentionVariant, ModelConfig

MAX_PARAMETERS = 500_000_000
STEPS = 32
PROMPT = "The ferry leaves the harbour at seven in the morning, and"
_DECIMALS = 6
_SMALLEST_DEVIATION = 1e-3  # of the logits

Floats = NDArray[np.floating[Any]]
Stored = Mapping[str, Mapping[str, NDArray[np.generic]]]  # matrix or vector -> canonical arrays
WeightsByName = Callable[[str], Floats]


def greedy_trace(config: ModelConfig, stored: Stored, prompt: Sequence[int]) -> Trace | None:
    """Continue the prompt by STEPS tokens; vectors are stored under the suffix "".

    Returns None for logits that are all alike or not finite, which say nothing about a library.
    Takes 4 bytes of memory a parameter.
    """
    weights = {name: _weights(config, stored, name) for name in stored}
    tokens = list(prompt)
    total = len(prompt) + min(STEPS, config.context_length - len(prompt))
    model = _Llama(config, lambda name: weights[name], np.float32)
    while True:
        while len(tokens) < total:
            tokens.append(int(np.argmax(model.logits(tokens[model.length :])[-1])))
        judge = _Llama(config, lambda name: weights[name].astype(np.float64), np.float64)
        logits = judge.logits(tokens[:-1], len(prompt) - 1)
        if not np.isfinite(logits).all() or np.std(logits, axis=1).min() < _SMALLEST_DEVIATION:
            return None
        steps = [_step(row) for row in logits]
        wrong = [i for i, step in enumerate(steps) if step.token != tokens[len(prompt) + i]]
        if not wrong:
            return Trace(tuple(prompt), tuple(steps))
        tokens = [*tokens[: len(prompt) + wrong[0]], steps[wrong[0]].token]
        model.forget(len(tokens) - 1)


def _weights(config: ModelConfig, stored: Stored, name: str) -> Floats:
    """Return a matrix or vector in float32, rounded once at most."""
    arrays = stored[name]
    if "" in arrays:
        return arrays[""].astype(np.float32)
    columns = {"down": config.intermediate_size}.get(name.rpartition(".")[2], config.hidden_size)
    if name.endswith("attention_out"):
        columns = config.num_heads * config.head_dim
    return decode(arrays, columns, np.float32)


def _step(logits: Floats) -> TraceStep:
    token = int(np.argmax(logits))
    top = float(logits[token])
    gap = top - float(np.max(np.delete(logits, token)))
    rounded = (round(value, _DECIMALS) for value in (top, gap, float(np.std(logits))))
    return TraceStep(token, *rounded)


class _Llama:
    """A Llama that keeps the keys and values of what it has read."""

    def __init__(self, config: ModelConfig, weights: WeightsByName, dtype: type) -> None:
        self.config, self.weights, self.dtype = config, weights, dtype
        self.length = 0
        shape = (config.num_layers, 0, config.num_kv_heads, config.head_dim)
        self._keys: Floats = np.empty(shape, dtype)
        self._values: Floats = np.empty(shape, dtype)

    def forget(self, length: int) -> None:
        """Forget all tokens after the first `length`."""
        self.length = min(self.length, length)
        self._keys, self._values = self._keys[:, :length], self._values[:, :length]

    def logits(self, tokens: Sequence[int], first: int = -1) -> Floats:
        """Read tokens; return the logits after those from index `first` on."""
        embedding = self.weights("embedding")
        x = embedding[np.asarray(tokens)]
        keys, values = [], []
        for layer in range(self.config.num_layers):
            x, key, value = self._layer(x, layer)
            keys.append(key)
            values.append(value)
        self._keys, self._values = np.stack(keys), np.stack(values)
        self.length += len(tokens)
        head = embedding if self.config.tied_embedding else self.weights("head")
        found: Floats = self._norm(x[first:], "final_norm") @ head.T
        cap = self.config.logit_cap
        return found if cap is None else self.dtype(cap) * np.tanh(found / self.dtype(cap))

    def _norm(self, x: Floats, name: str) -> Floats:
        factors: Floats = norm_factors(x, self.config.norm_eps).astype(self.dtype)
        found: Floats = x * factors * self.weights(name)
        return found

    def _layer(self, x: Floats, layer: int) -> tuple[Floats, Floats, Floats]:
        config, name = self.config, f"layers.{layer}."
        qkv = self._norm(x, name + "attention_norm") @ self.weights(name + "qkv").T
        if config.qkv_bias:
            qkv = qkv + self.weights(name + "qkv_bias")
        heads = qkv.reshape(len(x), -1, config.head_dim)
        kv = config.num_heads + config.num_kv_heads
        turned = self._rotate(self._norm_heads(heads[:, :kv], name), layer)
        key = np.concatenate([self._keys[layer], turned[:, config.num_heads :]])
        value = np.concatenate([self._values[layer], heads[:, kv:]])
        attended = self._attend(turned[:, : config.num_heads], key, value, layer)
        x = x + self._normed(attended, name + "attention_out", name + "attention_post_norm")
        gate_up = self._norm(x, name + "feed_forward_norm") @ self.weights(name + "gate_up").T
        gate, up = np.split(gate_up, 2, axis=1)
        active = (gelu if config.activation == "geglu" else silu)(gate) * up
        x = x + self._normed(active, name + "down", name + "feed_forward_post_norm")
        return x, key, value

    def _normed(self, x: Floats, matrix: str, norm: str) -> Floats:
        """Return a product of what is added to the residual, after its norm if it has one."""
        found: Floats = x @ self.weights(matrix).T
        return self._norm(found, norm) if self.config.post_norms else found

    def _norm_heads(self, x: Floats, name: str) -> Floats:
        config = self.config
        if not config.head_norm:
            return x
        gains = self.weights(name + "head_norm").reshape(2, config.head_dim)
        counts = [config.num_heads, config.num_kv_heads]
        factors = norm_factors(x.reshape(-1, config.head_dim), config.norm_eps)
        found: Floats = x * factors.reshape(*x.shape[:2], 1).astype(self.dtype)
        return found * np.repeat(gains, counts, axis=0)

    def _rotate(self, x: Floats, layer: int) -> Floats:
        config = self.config
        rope = config.rope_of(config.layer_attention(layer))
        frequencies, scale = rope_frequencies(rope, config.head_dim, config.context_length)
        positions = np.arange(self.length, self.length + len(x))
        angles = positions[:, None, None] * frequencies
        cosine: Floats = (np.cos(angles) * scale).astype(self.dtype)
        sine: Floats = (np.sin(angles) * scale).astype(self.dtype)
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cosine - second * sine, first * sine + second * cosine], -1)

    def _attend(self, query: Floats, keys: Floats, values: Floats, layer: int) -> Floats:
        variant, kv_heads = self.config.layer_attention(layer), keys.shape[1]
        repeats = query.shape[1] // kv_heads
        grouped = query.reshape(len(query), kv_heads, repeats, -1)
        scores = np.einsum("tgrd,sgd->grts", grouped, keys, optimize=True)
        if variant.score_scale is None:
            scores = scores / self.dtype(math.sqrt(query.shape[-1]))
        else:
            scores = scores * self.dtype(variant.score_scale)
        scores = self._adjusted(scores, variant)
        largest = scores.max(axis=-1, keepdims=True)
        if variant.sinks:
            sinks = self.weights(f"layers.{layer}.attention_sinks")
            sinks = sinks.reshape(kv_heads, repeats, 1, 1)
            largest = np.maximum(largest, sinks)
        powers = np.exp(scores - largest)
        total = powers.sum(axis=-1, keepdims=True)
        powers /= total + np.exp(sinks - largest) if variant.sinks else total
        found: Floats = np.einsum("grts,sgd->tgrd", powers, values, optimize=True)
        return found.reshape(len(query), -1)

    def _adjusted(self, scores: Floats, variant: AttentionVariant) -> Floats:
        """Return scores [kv heads, R, rows, tokens] with cap, slopes and what no row sees."""
        rows, tokens = scores.shape[2:]
        behind = np.arange(self.length, self.length + rows)[:, None] - np.arange(tokens)
        if variant.soft_cap is not None:
            cap = self.dtype(variant.soft_cap)
            scores = cap * np.tanh(scores / cap)
        if variant.alibi:
            slopes: Floats = np.array(alibi_slopes(self.config.num_heads), self.dtype)
            scores = scores - slopes.reshape(*scores.shape[:2], 1, 1) * behind.astype(self.dtype)
        hidden = behind < 0
        if variant.window_tokens is not None:
            hidden |= behind >= variant.window_tokens
        scores[..., hidden] = -np.inf
        return scores
