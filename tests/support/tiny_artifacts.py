"""Compiles a tiny Llama of awkward sizes into an artifact for this machine."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer, models, pre_tokenizers

from ferrylm.compile.compiler import compile_model
from ferrylm.compile.options import CompileOptions
from ferrylm.runtime.cpu_features import host_cpu
from ferrylm.schedules.cpu.profile import PROFILES

# No size is a whole number of vectors, groups or row blocks where it need not be.
HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, LAYERS, VOCAB = 72, 104, 6, 2, 16, 2, 283
CONTEXT = 300

CONFIG = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}


def host_profile() -> str:
    """Return the simplest profile that this machine runs; skip the calling test without one."""
    host = host_cpu()
    for name, profile in PROFILES.items():
        if profile.machine == host.machine and host.features >= set(profile.cpu_features):
            return name
    pytest.skip(f"no profile for {host.model_name}")


def write_source(folder: Path) -> Path:
    """Write a Hugging Face folder with random weights and a tokenizer of bytes."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(save(_weights()))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def compile_tiny(
    folder: Path, quantization: str = "q4f16", arithmetic: str = "int16", weights: str = "stored"
) -> Path:
    """Compile the tiny model within a folder for this machine; return the artifact's path.

    With q4f16, embedding and head are q8f16, so that both are there.
    """
    source = folder / "source"
    if not source.exists():
        write_source(source)
    output = folder / "artifact"
    compile_model(
        CompileOptions(
            source if weights == "stored" else source / "config.json",
            output,
            quantization,
            head_quantization="q8f16" if quantization == "q4f16" else None,
            targets=(f"cpu-{host_profile()}",),
            arithmetic=arithmetic,
            weights=weights,
        )
    )
    return output


@functools.cache
def shared_artifact() -> Path:
    """Return a q4f16 artifact with int16 arithmetic that all tests of a process share.

    Nobody may change it; it is gone when the process ends.
    """
    folder = tempfile.TemporaryDirectory(prefix="ferrylm-tiny-")
    _KEPT.append(folder)
    return compile_tiny(Path(folder.name))


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _weights() -> dict[str, np.ndarray]:
    random = np.random.Generator(np.random.Philox(7))
    query, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes = {
        "self_attn.q_proj": (query, HIDDEN),
        "self_attn.k_proj": (kv, HIDDEN),
        "self_attn.v_proj": (kv, HIDDEN),
        "self_attn.o_proj": (HIDDEN, query),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }

    def draw(*shape: int) -> np.ndarray:
        return (random.random(shape, np.float32) - np.float32(0.5)) * np.float32(0.6)

    found = {
        "model.embed_tokens.weight": draw(VOCAB, HIDDEN),
        "lm_head.weight": draw(VOCAB, HIDDEN),
    }
    found["model.norm.weight"] = draw(HIDDEN) + np.float32(1)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, shape in shapes.items():
            found[f"{prefix}{name}.weight"] = draw(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{prefix}{name}.weight"] = draw(HIDDEN) + np.float32(1)
    return found
