"""Make logits of tiny random models of every family, with transformers.

The weights come from a seeded generator that tests/tiny_families.py shares, so none are stored.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from goldens_rope import huggingface_weights

from tests.tiny_families import FAMILIES, tiny_family
from tests.tiny_llama import TinyLlama

_CLASSES = {
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "phi3": (transformers.Phi3Config, transformers.Phi3ForCausalLM),
    "gemma": (transformers.GemmaConfig, transformers.GemmaForCausalLM),
    "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
    "gemma3_text": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
}


def _fused(tiny: TinyLlama, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights with q, k, v as one matrix, and gate and up as one."""
    apart = tuple(f".{name}_proj.weight" for name in ("q", "k", "v", "gate", "up"))
    kept = {name: weight for name, weight in found.items() if not name.endswith(apart)}
    for index in range(tiny.config.num_layers):
        ours, theirs = f"layers.{index}.", f"model.layers.{index}."
        kept[theirs + "self_attn.qkv_proj.weight"] = tiny.weights[ours + "qkv"]
        kept[theirs + "mlp.gate_up_proj.weight"] = tiny.weights[ours + "gate_up"]
    return kept


def _stored(tiny: TinyLlama) -> dict[str, np.ndarray]:
    """Return the weights as the maker stores them: of a Gemma, without what is folded in."""
    config, found = tiny.config, huggingface_weights(tiny)
    if config.family == "phi3":
        return _fused(tiny, found)
    if not config.family.startswith("gemma"):
        return found
    root = np.float32(np.sqrt(config.hidden_size))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        found[name] = found[name] / root
    for index in range(config.num_layers if config.post_norms else 0):
        ours, theirs = f"layers.{index}.", f"model.layers.{index}."
        for name, part in {
            "post_attention_layernorm": "attention_post_norm",
            "pre_feedforward_layernorm": "feed_forward_norm",
            "post_feedforward_layernorm": "feed_forward_post_norm",
        }.items():
            found[f"{theirs}{name}.weight"] = tiny.weights[ours + part]
    for name in found:
        if name.endswith("norm.weight"):
            gain = found[name] * root if name == "model.norm.weight" else found[name]
            found[name] = gain - np.float32(1)
    return found


def family_logits(tiny: TinyLlama) -> np.ndarray:
    """Return the float64 logits [S, V] that transformers gives for a tiny model."""
    config = tiny.config
    make_config, make_model = _CLASSES[config.family]
    settings: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied_embedding,
        "rope_parameters": {"rope_type": config.rope.kind, "rope_theta": config.rope.theta},
        "attn_implementation": "eager",
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
    if config.family in ("mistral", "phi3"):
        settings["sliding_window"] = config.layer_attention(0).window_tokens
    if config.family == "gemma2":
        variant = config.layer_attention(0)
        settings |= {
            "sliding_window": variant.window_tokens,
            "attn_logit_softcapping": variant.soft_cap,
            "query_pre_attn_scalar": round((variant.score_scale or 1.0) ** -2),
            "final_logit_softcapping": config.logit_cap,
        }
    if config.local_rope is not None:
        variant = config.layer_attention(0)
        settings |= {
            "sliding_window": variant.window_tokens,
            "query_pre_attn_scalar": round((variant.score_scale or 1.0) ** -2),
            "layer_types": [
                "sliding_attention" if config.layer_attention(i).local_rope else "full_attention"
                for i in range(config.num_layers)
            ],
            "rope_parameters": {
                "full_attention": settings["rope_parameters"] | config.rope.parameters,
                "sliding_attention": {
                    "rope_type": "default", "rope_theta": config.local_rope.theta
                },
            },
        }  # fmt: skip
    model = make_model(make_config(**settings))
    state = {name: torch.from_numpy(weight) for name, weight in _stored(tiny).items()}
    model.load_state_dict(state, strict=True)
    tokens = torch.tensor([tiny.token_ids.tolist()])
    with torch.inference_mode():
        found: np.ndarray = model.double().eval()(tokens).logits[0].numpy()
    return found


def make_family_logits(target: Path) -> None:
    """Write float32 logits for each name of `tiny_families.FAMILIES`."""
    arrays = {name: family_logits(tiny_family(name)).astype(np.float32) for name in FAMILIES}
    for name, logits in arrays.items():
        print(f"{target.name}: {name} {logits.shape}, deviation {np.std(logits):.3f}")
    np.savez_compressed(target, **arrays)
