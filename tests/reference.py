"""The model families and their kernels in float64 numpy: slow, plain, and what tests compare with.

Written from the formulas (papers and Hugging Face's documented conventions), not from the code
under test: nothing here imports compile, relax_models or schedules. Arrays are [tokens, ...].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferrylm.runtime.manifest import ModelConfig, RopeConfig
from tests import variant_reference
from tests.reference_rows import gated, gelu, rms_norm, silu, softmax, swiglu  # noqa: F401

Float64 = NDArray[np.float64]
GROUP_SIZE = 32


def float64(values: ArrayLike) -> Float64:
    """Return the values as float64, without a copy when they are already."""
    return np.asarray(values, dtype=np.float64)


def rope_frequencies(rope: RopeConfig, head_dim: int, context_length: int) -> tuple[Float64, float]:
    """Return float64 [head_dim / 2] angles per position, and the factor on cosine and sine.

    `context_length` is used by yarn alone, when its parameters hold no factor. The formulas are
    those that Hugging Face documents for rope_type default, linear, llama3 and yarn.
    """
    frequencies = rope.theta ** (-2.0 * np.arange(head_dim // 2) / head_dim)
    if rope.kind == "default":
        return frequencies, 1.0
    if rope.kind == "linear":
        return frequencies / rope.parameters["factor"], 1.0
    if rope.kind == "llama3":
        return _llama3_frequencies(frequencies, rope.parameters), 1.0
    if rope.kind == "yarn":
        return _yarn_frequencies(frequencies, rope, head_dim, context_length)
    raise ValueError(f"no such kind of RoPE: {rope.kind!r}")


def _llama3_frequencies(frequencies: Float64, parameters: Mapping[str, float]) -> Float64:
    # A share of 1 keeps a frequency, 0 divides it by the factor, with a ramp between: the
    # number of turns within the original context decides.
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    turns = parameters["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * (kept + (1.0 - kept) / parameters["factor"])


def _yarn_frequencies(
    frequencies: Float64, rope: RopeConfig, head_dim: int, context_length: int
) -> tuple[Float64, float]:
    # "YaRN: Efficient Context Window Extension" (Peng et al., 2023), section 3.2 and 3.4.
    values = rope.parameters
    original = values["original_max_position_embeddings"]
    factor = values.get("factor") or context_length / original

    def dimension_of(turns: float) -> float:
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low = dimension_of(values.get("beta_fast") or 32.0)
    high = dimension_of(values.get("beta_slow") or 1.0)
    if values.get("truncate", 1.0):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    interpolated = np.clip((np.arange(head_dim // 2) - low) / (high - low), 0.0, 1.0)
    mixed = frequencies * (1.0 - interpolated) + frequencies / factor * interpolated
    return mixed, _yarn_attention_factor(values, factor)


def _yarn_attention_factor(values: Mapping[str, float], factor: float) -> float:
    given = values.get("attention_factor")
    if given is not None:
        return float(given)

    def scale(multiplier: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * multiplier * math.log(factor) + 1.0

    numerator, denominator = values.get("mscale"), values.get("mscale_all_dim")
    if numerator and denominator:
        return scale(numerator) / scale(denominator)
    return scale(1.0)


def rotate(x: ArrayLike, positions: ArrayLike, frequencies: Float64, scaling: float) -> Float64:
    """Rotate [tokens, heads, head_dim] by its positions [tokens]; pairs lie head_dim / 2 apart."""
    wide = float64(x)
    angles = float64(positions)[:, None, None] * frequencies
    cosine, sine = np.cos(angles) * scaling, np.sin(angles) * scaling
    first, second = np.split(wide, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def causal_attention(query: ArrayLike, key: ArrayLike, value: ArrayLike) -> Float64:
    """Grouped-query attention of the last tokens of one sequence over all of it.

    query [T, heads, D] are the last T of S tokens; key, value [S, kv_heads, D]; head h reads
    kv head h // (heads / kv_heads). Returns [T, heads, D].
    """
    queries, keys, values = float64(query), float64(key), float64(value)
    repeats = queries.shape[1] // keys.shape[1]
    keys, values = np.repeat(keys, repeats, axis=1), np.repeat(values, repeats, axis=1)
    scores = np.einsum("thd,shd->hts", queries, keys, optimize=True)
    scores /= math.sqrt(queries.shape[-1])
    count, length = queries.shape[0], keys.shape[0]
    future = np.arange(length) > np.arange(length - count, length)[:, None]
    scores[:, future] = -np.inf
    return np.einsum("hts,shd->thd", softmax(scores), values, optimize=True)


def gather_pages(pages: NDArray[Any], block_table: ArrayLike, length: int) -> Float64:
    """Return the first `length` tokens [length, kv_heads, D] that a block table refers to.

    `pages` is [pages, page_tokens, kv_heads, D]; bring other layouts into this one first.
    """
    page_tokens = pages.shape[1]
    used = np.asarray(block_table)[: -(-length // page_tokens)]
    rows = pages[used].reshape(-1, *pages.shape[2:])
    return float64(rows[:length])


def paged_attention(
    query: ArrayLike,
    key_pages: NDArray[Any],
    value_pages: NDArray[Any],
    block_tables: ArrayLike,
    lengths: ArrayLike,
) -> Float64:
    """Attention of one new token per sequence: query [B, heads, D] over B paged sequences.

    `block_tables` is [B, pages], `lengths` [B] counts the new token too; pages as in
    `gather_pages`. A sequence of length 0 gives zeros.
    """
    queries = float64(query)
    result = np.zeros_like(queries)
    rows = zip(np.asarray(block_tables), np.asarray(lengths), strict=True)
    for index, (table, length) in enumerate(rows):
        if length > 0:
            keys = gather_pages(key_pages, table, int(length))
            values = gather_pages(value_pages, table, int(length))
            result[index] = causal_attention(queries[index : index + 1], keys, values)[0]
    return result


def dequantize(arrays: Mapping[str, NDArray[Any]], columns: int) -> Float64:
    """Return the exact weights [rows, columns] of canonical arrays (codes, scale, minimum)."""
    if "weight" in arrays:
        return float64(arrays["weight"])
    codes, scale = arrays["codes"], float64(arrays["scale"])
    rows, groups = scale.shape
    grouped = codes.reshape(rows, groups, -1)
    if codes.dtype == np.uint8:
        grouped = np.concatenate([grouped % 16, grouped // 16], axis=2)
    levels = float64(grouped)
    if "minimum" in arrays:
        weights = levels * scale[:, :, None] + float64(arrays["minimum"])[:, :, None]
    elif codes.dtype == np.uint8:
        weights = (levels - 8.0) * scale[:, :, None]
    else:
        weights = levels * scale[:, :, None]
    return weights.reshape(rows, groups * GROUP_SIZE)[:, :columns]


def matmul(x: ArrayLike, arrays: Mapping[str, NDArray[Any]], columns: int) -> Float64:
    """Multiply x [tokens, columns] with the transpose of canonical weights: [tokens, rows]."""
    return float64(x) @ dequantize(arrays, columns).T


def quantize_activations(x: ArrayLike) -> tuple[NDArray[np.int8], Float64]:
    """Quantize [tokens, columns] to int8 by groups of 32: codes [T, G, 32], scales [T, G].

    scale = max|x| / 127, code = x / scale rounded half to even; columns past the end count as 0.
    A kernel that divides in float32 may round the other way where x / scale is nearly a half.
    """
    wide = float64(x)
    tokens, columns = wide.shape
    groups = -(-columns // GROUP_SIZE)
    padded = np.zeros((tokens, groups * GROUP_SIZE))
    padded[:, :columns] = wide
    grouped = padded.reshape(tokens, groups, GROUP_SIZE)
    scales = np.max(np.abs(grouped), axis=2) / 127.0
    divisors = np.where(scales == 0.0, 1.0, scales)[:, :, None]
    return np.rint(grouped / divisors).astype(np.int8), scales


def round_activations(x: ArrayLike) -> Float64:
    """Return x as it reads after quantization to int8: what an int8 matmul really multiplies."""
    wide = float64(x)
    codes, scales = quantize_activations(wide)
    rounded = float64(codes) * scales[:, :, None]
    return rounded.reshape(wide.shape[0], -1)[:, : wide.shape[1]]


def round_to_half(x: ArrayLike) -> Float64:
    """Return x as it reads after rounding to float16."""
    return float64(np.asarray(x).astype(np.float16))


def _known_names(config: ModelConfig) -> set[str]:
    inner = ["attention_norm", "qkv", "attention_out", "feed_forward_norm", "gate_up", "down"]
    inner += [name for name in ("qkv_bias", "head_norm") if getattr(config, name)]
    if config.post_norms:
        inner += ["attention_post_norm", "feed_forward_post_norm"]
    names = {f"layers.{index}.{name}" for index in range(config.num_layers) for name in inner}
    names |= {
        f"layers.{index}.attention_sinks"
        for index in range(config.num_layers)
        if config.layer_attention(index).sinks
    }
    return names | {"embedding", "final_norm"} | (set() if config.tied_embedding else {"head"})


def llama_logits(
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]],
    token_ids: ArrayLike,
    *,
    int8_activations: bool = False,
    half_products: bool = False,
) -> Float64:
    """Run a whole model over one sequence: token ids [S] to logits [S, vocab_size].

    `weights` are plain float matrices and vectors under the canonical names (embedding, head,
    final_norm, layers.I.qkv, ...). With `int8_activations` the input of every matmul is rounded
    as `quantize_activations` does, with `half_products` inputs and weights are rounded to float16,
    as for matrix units that add up in float32. Raises ValueError for weights of another kind of
    model, which would be left out silently otherwise.
    """

    def linear(x: Float64, name: str) -> Float64:
        if half_products:
            return round_to_half(x) @ round_to_half(weights[name]).T
        return (round_activations(x) if int8_activations else x) @ float64(weights[name]).T

    def norm(x: Float64, name: str) -> Float64:
        return rms_norm(x, weights[name], config.norm_eps)

    def post_norm(x: Float64, name: str) -> Float64:
        return norm(x, name) if config.post_norms else x

    unknown = set(weights) - _known_names(config)
    if unknown:
        raise ValueError(f"weights that this reference does not use: {sorted(unknown)}")
    ids = np.asarray(token_ids, dtype=np.int64)
    heads, kv_heads = config.num_heads, config.num_kv_heads
    cuts = [heads * config.head_dim, (heads + kv_heads) * config.head_dim]
    hidden = float64(weights["embedding"][ids])
    for index in range(config.num_layers):
        layer = f"layers.{index}."
        qkv = linear(norm(hidden, layer + "attention_norm"), layer + "qkv")
        if config.qkv_bias:
            qkv = qkv + float64(weights[layer + "qkv_bias"])
        query, key, value = (
            part.reshape(len(ids), -1, config.head_dim) for part in np.split(qkv, cuts, axis=1)
        )
        if config.head_norm:
            query, key = (
                rms_norm(heads, gain, config.norm_eps)
                for heads, gain in zip(
                    (query, key), np.split(weights[layer + "head_norm"], 2), strict=True
                )
            )
        positions = np.arange(len(ids))
        variant = config.layer_attention(index)
        rope = config.local_rope if variant.local_rope else config.rope
        assert rope is not None
        frequencies, scaling = rope_frequencies(rope, config.head_dim, config.context_length)
        attended = variant_reference.attend(
            rotate(query, positions, frequencies, scaling) * variant.scale(config.head_dim),
            positions,
            rotate(key, positions, frequencies, scaling),
            value,
            variant,
            weights.get(layer + "attention_sinks"),
        )
        added = linear(attended.reshape(len(ids), -1), layer + "attention_out")
        hidden = hidden + post_norm(added, layer + "attention_post_norm")
        gate_up = linear(norm(hidden, layer + "feed_forward_norm"), layer + "gate_up")
        gate, up = np.split(gate_up, 2, axis=1)
        added = linear(gated(gate, up, config.activation), layer + "down")
        hidden = hidden + post_norm(added, layer + "feed_forward_post_norm")
    head = "embedding" if config.tied_embedding else "head"
    logits, cap = linear(norm(hidden, "final_norm"), head), config.logit_cap
    return logits if cap is None else cap * np.tanh(logits / cap)
