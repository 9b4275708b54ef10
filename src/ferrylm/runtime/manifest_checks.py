"""The rules a manifest must meet beyond the types of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ferrylm.runtime.library_checks import check_library
from ferrylm.runtime.manifest import (
    AttentionVariant,
    FileEntry,
    GenerationDefaults,
    Manifest,
    ModelConfig,
    Quantization,
    TensorEntry,
    Tokenizer,
    Weights,
    manifest_files,
)
from ferrylm.runtime.manifest_codec import refuse, show
from ferrylm.runtime.manifest_fields import (
    MAX_COUNT,
    TENSOR_NAME,
    WORD,
    check_match,
    check_positive,
    check_range,
    check_tensor,
    check_text,
    check_unique,
)

NAME_HASH_DIGITS = 12

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MODES = ("q4f16", "q8f16", "q0f16", "q0f32")
_ROPE_KINDS = ("default", "linear", "llama3", "yarn")


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that contradicts itself or holds a value out of range.

    Raises ArtifactError naming the field. Expects the types to be right already.
    """
    check_text("name", manifest.name)
    for name in ("ferrylm", "tvm", "tvm_ffi"):
        check_text(f"versions.{name}", getattr(manifest.versions, name))
    _check_files(manifest_files(manifest))
    _check_model(manifest.model)
    _check_quantization(manifest.quantization)
    tensors = _check_weights(manifest.weights)
    if manifest.tokenizer is not None:
        _check_tokenizer(manifest.tokenizer, manifest.model.vocab_size)
    _check_generation(manifest.generation)
    check_unique("libraries", "target", (library.target for library in manifest.libraries))
    for i, library in enumerate(manifest.libraries):
        check_library(f"libraries[{i}]", library, tensors)


def _check_files(files: Iterable[FileEntry]) -> None:
    by_name: dict[str, FileEntry] = {}
    for entry in files:
        where = f"the file {show(entry.path)}"
        check_match(f"{where}.path", entry.path, _FILE_NAME, "a plain name of [A-Za-z0-9._-]")
        check_match(f"{where}.sha256", entry.sha256, _SHA256, "64 lowercase hexadecimal digits")
        check_range(f"{where}.size_bytes", entry.size_bytes, 0, 2**63 - 1)
        if entry.sha256[:NAME_HASH_DIGITS] not in entry.path:
            refuse(where, "named otherwise", f"a name that carries {entry.sha256[:16]}")
        # Names that differ in case only are one file on some file systems.
        other = by_name.setdefault(entry.path.casefold(), entry)
        if other != entry:
            refuse(where, "listed with two contents", "one content for one name")


def _check_model(model: ModelConfig) -> None:
    check_match("model.family", model.family, WORD, "a Hugging Face model_type")
    for name in (
        "hidden_size",
        "intermediate_size",
        "num_layers",
        "num_heads",
        "num_kv_heads",
        "head_dim",
        "vocab_size",
        "context_length",
    ):
        check_range(f"model.{name}", getattr(model, name), 1, MAX_COUNT)
    if model.num_heads % model.num_kv_heads:
        refuse("model.num_heads", str(model.num_heads), f"a multiple of {model.num_kv_heads}")
    check_positive("model.norm_eps", model.norm_eps)
    if model.rope.kind not in _ROPE_KINDS:
        refuse("model.rope.kind", show(model.rope.kind), "one of " + ", ".join(_ROPE_KINDS))
    check_positive("model.rope.theta", model.rope.theta)
    for key in model.rope.parameters:
        check_text("a key of model.rope.parameters", key)
    if model.attention and len(model.attention) != model.num_layers:
        refuse("model.attention", show(model.attention), f"empty or of {model.num_layers} layers")
    for i, variant in enumerate(model.attention):
        _check_attention(f"model.attention[{i}]", variant)


def _check_attention(where: str, variant: AttentionVariant) -> None:
    if variant.window_tokens is not None:
        check_range(f"{where}.window_tokens", variant.window_tokens, 1, MAX_COUNT)
    for name in ("soft_cap", "score_scale"):
        value = getattr(variant, name)
        if value is not None:
            check_positive(f"{where}.{name}", value)


def _check_quantization(quantization: Quantization) -> None:
    for name in ("body", "head"):
        mode = getattr(quantization, name)
        if mode not in _MODES:
            refuse(f"quantization.{name}", show(mode), "one of " + ", ".join(_MODES))
    check_range("quantization.group_size", quantization.group_size, 1, MAX_COUNT)
    check_positive("quantization.bits_per_weight", quantization.bits_per_weight)


def _check_weights(weights: Weights) -> dict[str, TensorEntry]:
    """Return the tensors by name."""
    if weights.mode not in ("stored", "random"):
        refuse("weights.mode", show(weights.mode), "stored or random")
    stored = weights.mode == "stored"
    if stored and weights.seed is not None:
        refuse("weights.seed", show(weights.seed), "null, for stored weights have no seed")
    if not stored:
        if weights.seed is None:
            refuse("weights.seed", "null", "an integer, for random weights need a seed")
        check_range("weights.seed", weights.seed, 0, 2**63 - 1)
        if weights.files:
            refuse("weights.files", show(weights.files), "empty, for random weights have no file")
    check_unique("weights.tensors", "name", (tensor.name for tensor in weights.tensors))
    for i, tensor in enumerate(weights.tensors):
        where = f"weights.tensors[{i}]"
        check_match(f"{where}.name", tensor.name, TENSOR_NAME, "letters, digits and ._-")
        check_tensor(where, tensor.dtype, tensor.shape)
        if stored and tensor.file is None:
            refuse(f"{where}.file", "null", "an index of weights.files")
        if not stored and tensor.file is not None:
            refuse(f"{where}.file", show(tensor.file), "null, for random weights have no file")
        if tensor.file is not None and not 0 <= tensor.file < len(weights.files):
            refuse(f"{where}.file", show(tensor.file), f"below {len(weights.files)}")
    return {tensor.name: tensor for tensor in weights.tensors}


def _check_tokenizer(tokenizer: Tokenizer, vocab_size: int) -> None:
    ids = [("tokenizer.eos_token_ids", token) for token in tokenizer.eos_token_ids]
    if tokenizer.bos_token_id is not None:
        ids.append(("tokenizer.bos_token_id", tokenizer.bos_token_id))
    elif tokenizer.add_bos:
        refuse("tokenizer.bos_token_id", "null", "an id, for tokenizer.add_bos is true")
    for where, token in ids:
        check_range(where, token, 0, vocab_size - 1)
    for key in tokenizer.special_tokens:
        check_text("a key of tokenizer.special_tokens", key)
    check_match("tokenizer.probe_sha256", tokenizer.probe_sha256, _SHA256, "64 hexadecimal digits")


def _check_generation(generation: GenerationDefaults) -> None:
    limits = {"temperature": 1e6, "top_p": 1.0, "min_p": 1.0, "repetition_penalty": 1e6}
    for name, highest in limits.items():
        value = getattr(generation, name)
        if value is not None and not 0 <= value <= highest:
            refuse(f"generation.{name}", show(value), f"a number from 0 to {highest:g}")
    if generation.top_k is not None:
        check_range("generation.top_k", generation.top_k, 0, MAX_COUNT)
