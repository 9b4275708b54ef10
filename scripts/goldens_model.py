"""Make the logits and greedy goldens of SmolLM2 with transformers' LlamaForCausalLM.

Both sides use the weights that the GGUF means: each tensor dequantized by the gguf package, with
the row order of q and k that its converter changed put back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gguf import GGUFReader, dequantize
from goldens_files import GOLDEN_FOLDER, read_texts, write_json
from goldens_tokenizer import build_tokenizer
from numpy.typing import NDArray

FULL_POSITIONS = 8
TOP_COUNT = 64
GREEDY_TOKENS = 256
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def pairs_apart(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo llama.cpp's row order of q and k: from neighbouring rotary pairs to distant ones."""
    split = rows.reshape(heads, rows.shape[0] // heads // 2, 2, rows.shape[1])
    return split.swapaxes(1, 2).reshape(rows.shape)


def load_model(gguf_path: Path, dtype: torch.dtype) -> Any:
    """Build LlamaForCausalLM in `dtype` from the metadata and dequantized tensors of a GGUF."""
    reader = GGUFReader(gguf_path)

    def field(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    config = transformers.LlamaConfig(
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=field("vocab_size"),
        max_position_embeddings=field("context_length"),
        rms_norm_eps=1e-5,  # the GGUF holds its float32 neighbour
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")},
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    state = {}
    for tensor in reader.tensors:
        *prefix, kind, _ = tensor.name.split(".")
        weight = dequantize(tensor.data, tensor.tensor_type)
        if kind in ("attn_q", "attn_k"):
            weight = pairs_apart(weight, heads if kind == "attn_q" else kv_heads)
        name = f"model.layers.{prefix[1]}.{_NAMES[kind]}" if prefix else _NAMES[kind]
        state[name + ".weight"] = torch.from_numpy(np.array(weight, dtype=np.float32))
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(state, strict=True)
    return model.to(dtype).eval()


def make_logits(gguf_path: Path, target: Path) -> None:
    """Write compact logits of the texts in texts.txt, computed with float64 weights."""
    tokenizer = build_tokenizer(gguf_path)
    model = load_model(gguf_path, torch.float64)
    texts = read_texts(GOLDEN_FOLDER / "texts.txt")
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    with torch.inference_mode():
        rows = [model(torch.tensor([sequence])).logits[0].numpy() for sequence in ids]
    logits = np.concatenate(rows)
    top_ids = np.argsort(-logits, axis=1, kind="stable")[:, :TOP_COUNT]
    top_logits = np.take_along_axis(logits, top_ids, axis=1)
    peak = top_logits[:, :1]
    log_sum = peak[:, 0] + np.log(np.sum(np.exp(logits - peak), axis=1))
    full = np.linspace(0, len(logits) - 1, FULL_POSITIONS).astype(np.int64)
    np.savez_compressed(
        target,
        lengths=np.array([len(sequence) for sequence in ids], np.int32),
        token_ids=np.concatenate(ids).astype(np.int32),
        top_ids=top_ids.astype(np.uint16),
        top_logits=top_logits.astype(np.float32),
        log_sum=log_sum,
        gap=top_logits[:, 0] - top_logits[:, 1],
        deviation=np.std(logits, axis=1),
        full_positions=full,
        full_logits=logits[full].astype(np.float32),
    )
    print(f"{target.name}: {len(texts)} texts, {len(logits)} positions, lengths {[*map(len, ids)]}")


PROMPTS: tuple[str | list[dict[str, str]], ...] = (
    "The history of the bicycle begins",
    "def fibonacci(n):\n",
    "1, 2, 4, 8, 16,",
    [{"role": "user", "content": "Why is the sky blue?"}],
    [{"role": "user", "content": "Write a short story about a robot who learns to paint."}],
    [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Name three large rivers."},
    ],
)


def make_greedy(gguf_path: Path, target: Path) -> None:
    """Write float32 greedy continuations, never stopped early, with the gap at each step."""
    tokenizer = build_tokenizer(gguf_path)
    model = load_model(gguf_path, torch.float32)
    traces = []
    for prompt in PROMPTS:
        text = prompt
        if not isinstance(prompt, str):
            text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        continuation, gaps = greedy(model, ids)
        traces.append(
            {
                "text": text,
                "chat": not isinstance(prompt, str),
                "prompt_ids": ids,
                "ids": continuation,
                "gaps": gaps,
            }
        )
        print(repr(tokenizer.decode(continuation)), "least gap", min(gaps))
    source = (
        f"transformers {transformers.__version__}, torch {torch.__version__} in float32;"
        f" weights of {gguf_path.name}; end tokens do not stop"
    )
    write_json(target, {"source": source, "traces": traces})


def greedy(model: Any, prompt_ids: list[int]) -> tuple[list[int], list[float]]:
    """Return GREEDY_TOKENS greedy tokens and how far each lay above the second best."""
    ids, gaps = [], []
    step, cache = torch.tensor([prompt_ids]), None
    with torch.inference_mode():
        for _ in range(GREEDY_TOKENS):
            output = model(step, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            best = torch.topk(output.logits[0, -1], 2)
            ids.append(int(best.indices[0]))
            gaps.append(round(float(best.values[0] - best.values[1]), 6))
            step = best.indices[:1][None]
    return ids, gaps
