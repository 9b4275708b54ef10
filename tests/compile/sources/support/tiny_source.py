"""One tiny random Llama in every source format, with a tokenizer that encodes any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf_builder import GgufFile, GgufTensor, encoded_tensor, float_tensor, plain
from safetensors.numpy import save

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, LAYERS, VOCAB = 64, 96, 4, 2, 16, 2, 288

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCAB,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}

GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Return float32 weights by Hugging Face names."""
    random = np.random.default_rng(seed)
    queries, keys = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    for layer in range(LAYERS):
        for name, shape in {
            "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
            "self_attn.q_proj": (queries, HIDDEN),
            "self_attn.k_proj": (keys, HIDDEN),
            "self_attn.v_proj": (keys, HIDDEN),
            "self_attn.o_proj": (HIDDEN, queries),
            "mlp.gate_proj": (INNER, HIDDEN),
            "mlp.up_proj": (INNER, HIDDEN),
            "mlp.down_proj": (HIDDEN, INNER),
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return {
        name: random.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
        for name, shape in shapes.items()
    }


def gguf_name(name: str) -> str:
    """Translate a Hugging Face tensor name."""
    if name in GGUF_NAMES:
        return GGUF_NAMES[name]
    _, _, layer, *module, kind = name.split(".")
    return f"blk.{layer}.{GGUF_NAMES['.'.join(module)]}.{kind}"


def pairs_together(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of q or k as llama.cpp's converter does for Llama."""
    half = matrix.shape[0] // heads // 2
    split = matrix.reshape(heads, 2, half, *matrix.shape[1:])
    return split.swapaxes(1, 2).reshape(matrix.shape)


def byte_alphabet() -> list[str]:
    """Return GPT-2's character for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    characters = {byte: chr(byte) for byte in kept}
    characters.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [characters[byte] for byte in range(256)]


SPECIALS = ["<s>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "\u0120 w", "o r", "\u0120w or", "1 2", "\u0120 \u0120"]
TOKENS = SPECIALS + byte_alphabet() + [merge.replace(" ", "") for merge in MERGES]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"


def gguf_metadata(**changes: Any) -> dict[str, Any]:
    """Return the metadata of the tiny model; a change to None takes a key out."""
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.block_count": LAYERS,
        "llama.context_length": 128,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        "llama.rope.dimension_count": HEAD_DIM,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * len(SPECIALS) + [1] * (len(TOKENS) - len(SPECIALS)),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }
    metadata.update(changes)
    return {key: value for key, value in metadata.items() if value is not None}


def gguf_tensors(values: dict[str, np.ndarray] | None = None) -> list[GgufTensor]:
    """Return the tiny model's tensors as llama.cpp's converter orders them."""
    tensors = []
    for name, matrix in (weights() if values is None else values).items():
        if ".q_proj." in name or ".k_proj." in name:
            matrix = pairs_together(matrix, HEADS if ".q_proj." in name else KV_HEADS)
        tensors.append(float_tensor(gguf_name(name), matrix))
    return tensors


def gguf_file(**metadata: Any) -> GgufFile:
    """Return the tiny model as a GGUF file in F32."""
    return GgufFile(plain(gguf_metadata(**metadata)), gguf_tensors())


def replace_tensor(file: GgufFile, name: str, encoding: str, raw: np.ndarray, columns: int) -> None:
    """Put encoded rows in the place of a tensor."""
    index = [tensor.name for tensor in file.tensors].index(name)
    file.tensors[index] = encoded_tensor(name, encoding, columns, raw)


def tokenizer_json(**changes: Any) -> dict[str, Any]:
    """Return the tiny tokenizer as the content of a tokenizer.json."""
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index, "content": text, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True,
            }
            for index, text in enumerate(SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(TOKENS)},
            "merges": [merge.split(" ") for merge in MERGES],
        },
    }  # fmt: skip
    document.update(changes)
    return document


TOKENIZER_CONFIG: dict[str, Any] = {
    "bos_token": {"content": "<s>"},
    "eos_token": "<|im_end|>",
    "chat_template": TEMPLATE,
}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")


def write_huggingface(folder: Path, **config: Any) -> Path:
    """Write the tiny model as a Hugging Face folder."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", {**CONFIG, **config})
    write_json(folder / "tokenizer.json", tokenizer_json())
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    write_json(folder / "generation_config.json", {"temperature": 0.6, "eos_token_id": [2, 0]})
    (folder / "model.safetensors").write_bytes(save(weights()))
    return folder
