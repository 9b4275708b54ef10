"""Make logits of tiny random Llamas with each kind of RoPE, with transformers.

The weights come from a seeded generator that tests/tiny_llama.py shares, so none are stored.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.tiny_llama import ROPES, TinyLlama, tiny_llama


def transformers_results(tiny: TinyLlama) -> dict[str, np.ndarray]:
    """Return logits [S, V] of one tiny model in float64, and its RoPE frequencies and scaling."""
    config = tiny.config
    parameters = {"rope_type": config.rope.kind, "rope_theta": config.rope.theta}
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            vocab_size=config.vocab_size,
            max_position_embeddings=config.context_length,
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=config.tied_embedding,
            rope_parameters=parameters | config.rope.parameters,
            attn_implementation="sdpa",
        )
    )
    state = {name: torch.from_numpy(weight) for name, weight in huggingface_weights(tiny).items()}
    model.load_state_dict(state, strict=True)
    rotary = model.model.rotary_emb
    frequencies, scaling = rotary.inv_freq.numpy().copy(), np.float64(rotary.attention_scaling)
    with torch.inference_mode():
        logits = model.double().eval()(torch.tensor([tiny.token_ids.tolist()])).logits[0].numpy()
    return {"logits": logits, "frequencies": frequencies, "scaling": scaling}


def huggingface_weights(tiny: TinyLlama) -> dict[str, np.ndarray]:
    """Return the weights of a tiny model under Hugging Face's names."""
    config, weights = tiny.config, tiny.weights
    cuts = [config.num_heads * config.head_dim]
    cuts.append(cuts[0] + config.num_kv_heads * config.head_dim)
    state = {
        "model.embed_tokens.weight": weights["embedding"],
        "model.norm.weight": weights["final_norm"],
        "lm_head.weight": weights["embedding" if config.tied_embedding else "head"],
    }
    for index in range(config.num_layers):
        ours, theirs = f"layers.{index}.", f"model.layers.{index}."
        for name, part in zip("qkv", np.split(weights[ours + "qkv"], cuts), strict=True):
            state[f"{theirs}self_attn.{name}_proj.weight"] = part
        if config.qkv_bias:
            for name, part in zip("qkv", np.split(weights[ours + "qkv_bias"], cuts), strict=True):
                state[f"{theirs}self_attn.{name}_proj.bias"] = part
        if config.head_norm:
            for name, part in zip("qk", np.split(weights[ours + "head_norm"], 2), strict=True):
                state[f"{theirs}self_attn.{name}_norm.weight"] = part
        for name, part in zip(("gate", "up"), np.split(weights[ours + "gate_up"], 2), strict=True):
            state[f"{theirs}mlp.{name}_proj.weight"] = part
        state[theirs + "self_attn.o_proj.weight"] = weights[ours + "attention_out"]
        state[theirs + "mlp.down_proj.weight"] = weights[ours + "down"]
        state[theirs + "input_layernorm.weight"] = weights[ours + "attention_norm"]
        state[theirs + "post_attention_layernorm.weight"] = weights[ours + "feed_forward_norm"]
    return state


def make_rope_logits(target: Path) -> None:
    """Write float32 logits, float32 frequencies and scaling for each name of `tiny_llama.ROPES`."""
    arrays = {}
    for name in ROPES:
        results = transformers_results(tiny_llama(name))
        deviation = np.std(results["logits"])
        results["logits"] = results["logits"].astype(np.float32)
        arrays |= {f"{name}_{kind}": array for kind, array in results.items()}
        print(f"{target.name}: {name} {results['logits'].shape}, deviation {deviation:.3f}")
    np.savez_compressed(target, **arrays)
