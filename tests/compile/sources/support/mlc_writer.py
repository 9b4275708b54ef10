"""Write the tiny model as an MLC folder, quantized by MLC's own rule."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tiny_source

MODEL_CONFIG: dict[str, Any] = {
    "hidden_size": tiny_source.HIDDEN,
    "intermediate_size": tiny_source.INNER,
    "num_attention_heads": tiny_source.HEADS,
    "num_key_value_heads": tiny_source.KV_HEADS,
    "num_hidden_layers": tiny_source.LAYERS,
    "rms_norm_eps": 1e-5,
    "vocab_size": tiny_source.VOCAB,
    "position_embedding_base": 10000.0,
    "context_window_size": 128,
    "tie_word_embeddings": False,
}
FUSED = {
    "self_attn.qkv_proj": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "mlp.gate_up_proj": ["mlp.gate_proj", "mlp.up_proj"],
}


def quantize_mlc(values: np.ndarray, scale_dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Quantize by group_quantization.py's rule: scale = max|w| / 7, q = round(w / scale) + 7."""
    rows = len(values)
    groups = values.reshape(rows, -1, 32)
    scale = (np.abs(groups).max(axis=2) / 7).astype(scale_dtype)
    wide = scale.astype(np.float32)[:, :, None]
    codes = np.clip(np.rint(groups / wide) + 7, 0, 14).astype(np.uint32).reshape(rows, -1, 8)
    words = np.zeros(codes.shape[:2], np.uint32)
    for element in range(8):
        words |= codes[:, :, element] << (4 * element)
    return words, scale


def dequantize_mlc(words: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return (q - 7) * scale in float32, element i in bits 4 * (i % 8) of word i // 8."""
    codes = np.stack([(words >> (4 * i)) & 15 for i in range(8)], axis=2).reshape(len(words), -1)
    wide = np.repeat(scale.astype(np.float32), 32, axis=1)
    return (codes.astype(np.float32) - 7) * wide


def mlc_tensors(family: str) -> dict[str, np.ndarray]:
    """Return the tiny model's weights under MLC's names: q, k, v and gate, up fused.

    Qwen has another name for the former, Qwen2 a bias, and Qwen3 norms of heads.
    """
    weights = tiny_source.weights()
    for layer in range(tiny_source.LAYERS if family == "qwen3" else 0):
        for part in "qk":
            name = f"model.layers.{layer}.self_attn.{part}_norm.weight"
            weights[name] = np.arange(tiny_source.HEAD_DIM, dtype=np.float32) + layer
    for layer in range(tiny_source.LAYERS):
        for fused, parts in FUSED.items():
            names = [f"model.layers.{layer}.{part}.weight" for part in parts]
            rows = np.concatenate([weights.pop(name) for name in names])
            if family.startswith("qwen") and "qkv" in fused:
                fused = "self_attn.c_attn"
            if family == "qwen2" and fused == "self_attn.c_attn":
                bias = np.arange(len(rows), dtype=np.float32) / 8 - layer
                weights[f"model.layers.{layer}.{fused}.bias"] = bias
            weights[f"model.layers.{layer}.{fused}.weight"] = rows
    return weights


def write_mlc(
    folder: Path,
    quantization: str = "q4f16_1",
    cache_name: str = "tensor-cache.json",
    family: str = "llama",
) -> dict[str, np.ndarray]:
    """Write the folder; return what its tensors mean, float32 by MLC's names."""
    folder.mkdir(exist_ok=True)
    scale_dtype = "float16" if quantization == "q4f16_1" else "float32"
    stored: dict[str, np.ndarray] = {}
    meaning: dict[str, np.ndarray] = {}
    for name, values in mlc_tensors(family).items():
        if quantization.startswith("q4") and values.ndim == 2:
            words, scale = quantize_mlc(values, scale_dtype)
            stored[name.replace(".weight", ".q_weight")] = words
            stored[name.replace(".weight", ".q_scale")] = scale
            meaning[name] = dequantize_mlc(words, scale)
        else:
            stored[name] = values.astype("float16" if "f16" in quantization else "float32")
            meaning[name] = stored[name].astype(np.float32)
    shards = []
    names = list(stored)
    for index, part in enumerate((names[:11], names[11:])):
        shards.append(_write_shard(folder, index, {name: stored[name] for name in part}))
    tiny_source.write_json(folder / cache_name, {"metadata": {}, "records": shards})
    settings = {
        "model_type": family,
        "quantization": quantization,
        "model_config": MODEL_CONFIG,
        "temperature": 0.7,
        "conv_template": {"stop_token_ids": [2]},
        "eos_token_id": 1,
    }
    tiny_source.write_json(folder / "mlc-chat-config.json", settings)
    tiny_source.write_json(folder / "tokenizer.json", tiny_source.tokenizer_json())
    return meaning


def _write_shard(folder: Path, index: int, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    data = b""
    records = []
    for name, values in tensors.items():
        raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
        records.append(
            {
                "name": name,
                "shape": list(values.shape),
                "dtype": str(values.dtype),
                "format": "raw",
                "nbytes": len(raw),
                "byteOffset": len(data),
            }
        )
        data += raw
    path = f"params_shard_{index}.bin"
    (folder / path).write_bytes(data)
    return {
        "dataPath": path,
        "format": "raw-shard",
        "nbytes": len(data),
        "md5sum": hashlib.md5(data).hexdigest(),
        "records": records,
    }
