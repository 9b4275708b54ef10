"""Check that a source has every tensor its config promises, in the right shape, and no other."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ferrylm.compile.sources.source import SourceTensor
from ferrylm.errors import SourceError

# The model types whose tensors are these; for others the model's own definition decides.
CHECKED_MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})

_IGNORED = re.compile(r"model\.layers\.[0-9]+\.self_attn\.rotary_emb\.inv_freq")

Shape = tuple[int, ...]


def expected_shapes(config: Mapping[str, object]) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the shapes of the tensors that must be there, and of those that may be."""
    hidden, inner = _size(config, "hidden_size"), _size(config, "intermediate_size")
    head_dim, vocab = _size(config, "head_dim"), _size(config, "vocab_size")
    queries = _size(config, "num_attention_heads") * head_dim
    keys = _size(config, "num_key_value_heads") * head_dim
    needed: dict[str, Shape] = {
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    optional: dict[str, Shape] = {}
    head = optional if config["tie_word_embeddings"] else needed
    head["lm_head.weight"] = (vocab, hidden)
    for layer in range(_size(config, "num_hidden_layers")):
        prefix = f"model.layers.{layer}"
        attention, feed_forward = f"{prefix}.self_attn", f"{prefix}.mlp"
        matrices = {
            f"{attention}.q_proj": (queries, hidden),
            f"{attention}.k_proj": (keys, hidden),
            f"{attention}.v_proj": (keys, hidden),
            f"{attention}.o_proj": (hidden, queries),
            f"{feed_forward}.gate_proj": (inner, hidden),
            f"{feed_forward}.up_proj": (inner, hidden),
            f"{feed_forward}.down_proj": (hidden, inner),
        }
        for name, shape in matrices.items():
            needed[f"{name}.weight"] = shape
            optional[f"{name}.bias"] = shape[:1]
        for name in (f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm"):
            needed[f"{name}.weight"] = (hidden,)
        if config["model_type"] == "qwen3":
            for name in ("q_norm", "k_norm"):
                needed[f"{attention}.{name}.weight"] = (head_dim,)
    return needed, optional


def check_shapes(
    config: Mapping[str, object], tensors: Mapping[str, SourceTensor], what: str
) -> None:
    """Raise SourceError if the tensors of a known model type are not those of its config."""
    if config["model_type"] not in CHECKED_MODEL_TYPES:
        return
    # Every layer has tensors: fewer of them than layers is refused before any list is made.
    layers = _size(config, "num_hidden_layers")
    if layers > len(tensors):
        raise _mismatch(what, f"{len(tensors)} tensors", f"those of {layers} layers")
    needed, optional = expected_shapes(config)
    for name, shape in needed.items():
        if name not in tensors:
            raise _mismatch(what, f"no tensor {name}", f"one of shape {shape}")
    for name, tensor in tensors.items():
        expected = needed.get(name) or optional.get(name)
        if expected is None and not _IGNORED.fullmatch(name):
            raise _mismatch(what, f"tensor {ascii(name)[:200]}", "only tensors of the model")
        if expected is not None and tensor.shape != expected:
            raise _mismatch(what, f"tensor {name} of shape {tensor.shape}", f"shape {expected}")


def _size(config: Mapping[str, object], key: str) -> int:
    value = config[key]
    if not isinstance(value, int):
        raise TypeError(f"{key} of a normalized config is {type(value).__name__}")
    return value


def _mismatch(what: str, found: str, wanted: str) -> SourceError:
    return SourceError(
        f"{what}: {found}", wanted=wanted, fix="check that weights and config belong together"
    )
