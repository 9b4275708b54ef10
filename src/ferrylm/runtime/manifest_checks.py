"""The rules a manifest must meet beyond the types of its fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from ferrylm.runtime.manifest import (
    FileEntry,
    GenerationDefaults,
    Library,
    Manifest,
    ModelConfig,
    Parameter,
    Quantization,
    TensorEntry,
    Tokenizer,
    Weights,
    manifest_files,
)
from ferrylm.runtime.manifest_codec import refuse, show
from ferrylm.runtime.tensor_types import ITEM_BYTES

MAX_TENSOR_BYTES = 2**48
MAX_COUNT = 2**31 - 1  # of tokens, heads, rows: what a 32-bit index can reach
NAME_HASH_DIGITS = 12

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TENSOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,255}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_MODES = ("q4f16", "q8f16", "q0f16", "q0f32")
_ROPE_KINDS = ("default", "linear", "llama3", "yarn")


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that contradicts itself or holds a value out of range.

    Raises ArtifactError naming the field. Expects the types to be right already.
    """
    _check_text("name", manifest.name)
    for name in ("ferrylm", "tvm", "tvm_ffi"):
        _check_text(f"versions.{name}", getattr(manifest.versions, name))
    _check_files(manifest_files(manifest))
    _check_model(manifest.model)
    _check_quantization(manifest.quantization)
    tensors = _check_weights(manifest.weights)
    if manifest.tokenizer is not None:
        _check_tokenizer(manifest.tokenizer, manifest.model.vocab_size)
    _check_generation(manifest.generation)
    _check_unique("libraries", "target", (library.target for library in manifest.libraries))
    for i, library in enumerate(manifest.libraries):
        _check_library(f"libraries[{i}]", library, tensors)


def _check_files(files: Iterable[FileEntry]) -> None:
    by_name: dict[str, FileEntry] = {}
    for entry in files:
        where = f"the file {show(entry.path)}"
        _check_match(f"{where}.path", entry.path, _FILE_NAME, "a plain name of [A-Za-z0-9._-]")
        _check_match(f"{where}.sha256", entry.sha256, _SHA256, "64 lowercase hexadecimal digits")
        _check_range(f"{where}.size_bytes", entry.size_bytes, 0, 2**63 - 1)
        if entry.sha256[:NAME_HASH_DIGITS] not in entry.path:
            refuse(where, "named otherwise", f"a name that carries {entry.sha256[:16]}")
        # Names that differ in case only are one file on some file systems.
        other = by_name.setdefault(entry.path.casefold(), entry)
        if other != entry:
            refuse(where, "listed with two contents", "one content for one name")


def _check_model(model: ModelConfig) -> None:
    _check_match("model.family", model.family, _WORD, "a Hugging Face model_type")
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
        _check_range(f"model.{name}", getattr(model, name), 1, MAX_COUNT)
    if model.num_heads % model.num_kv_heads:
        refuse("model.num_heads", str(model.num_heads), f"a multiple of {model.num_kv_heads}")
    _check_positive("model.norm_eps", model.norm_eps)
    if model.rope.kind not in _ROPE_KINDS:
        refuse("model.rope.kind", show(model.rope.kind), "one of " + ", ".join(_ROPE_KINDS))
    _check_positive("model.rope.theta", model.rope.theta)
    for key in model.rope.parameters:
        _check_text("a key of model.rope.parameters", key)


def _check_quantization(quantization: Quantization) -> None:
    for name in ("body", "head"):
        mode = getattr(quantization, name)
        if mode not in _MODES:
            refuse(f"quantization.{name}", show(mode), "one of " + ", ".join(_MODES))
    _check_range("quantization.group_size", quantization.group_size, 1, MAX_COUNT)
    _check_positive("quantization.bits_per_weight", quantization.bits_per_weight)


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
        _check_range("weights.seed", weights.seed, 0, 2**63 - 1)
        if weights.files:
            refuse("weights.files", show(weights.files), "empty, for random weights have no file")
    _check_unique("weights.tensors", "name", (tensor.name for tensor in weights.tensors))
    for i, tensor in enumerate(weights.tensors):
        where = f"weights.tensors[{i}]"
        _check_match(f"{where}.name", tensor.name, _TENSOR_NAME, "letters, digits and ._-")
        _check_tensor(where, tensor.dtype, tensor.shape)
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
        _check_range(where, token, 0, vocab_size - 1)
    for key in tokenizer.special_tokens:
        _check_text("a key of tokenizer.special_tokens", key)
    _check_match("tokenizer.probe_sha256", tokenizer.probe_sha256, _SHA256, "64 hexadecimal digits")


def _check_generation(generation: GenerationDefaults) -> None:
    limits = {"temperature": 1e6, "top_p": 1.0, "min_p": 1.0, "repetition_penalty": 1e6}
    for name, highest in limits.items():
        value = getattr(generation, name)
        if value is not None and not 0 <= value <= highest:
            refuse(f"generation.{name}", show(value), f"a number from 0 to {highest:g}")
    if generation.top_k is not None:
        _check_range("generation.top_k", generation.top_k, 0, MAX_COUNT)


def _check_library(where: str, library: Library, tensors: dict[str, TensorEntry]) -> None:
    for name in ("target", "kind", "arithmetic", "kv_dtype"):
        _check_match(f"{where}.{name}", getattr(library, name), _WORD, "one word")
    _check_match(f"{where}.requires.machine", library.requires.machine, _WORD, "one word")
    for feature in library.requires.cpu_features:
        _check_match(f"{where}.requires.cpu_features", feature, _WORD, "one word each")
    _check_range(f"{where}.preference", library.preference, -MAX_COUNT, MAX_COUNT)
    if library.kv_dtype not in ITEM_BYTES:
        refuse(f"{where}.kv_dtype", show(library.kv_dtype), "one of " + ", ".join(ITEM_BYTES))
    _check_range(f"{where}.prefill_chunk", library.prefill_chunk, 1, MAX_COUNT)
    _check_range(f"{where}.kv_page_multiple", library.kv_page_multiple, 1, MAX_COUNT)
    _check_range(f"{where}.workspace_bytes", library.workspace_bytes, 0, MAX_TENSOR_BYTES)
    for batch in library.decode_batches:
        _check_range(f"{where}.decode_batches", batch, 1, MAX_COUNT)
    if not library.decode_batches or list(library.decode_batches) != sorted(
        set(library.decode_batches)
    ):
        refuse(f"{where}.decode_batches", show(library.decode_batches), "sizes in rising order")
    _check_unique(f"{where}.parameters", "name", (item.name for item in library.parameters))
    for i, parameter in enumerate(library.parameters):
        _check_parameter(f"{where}.parameters[{i}]", parameter, tensors)


def _check_parameter(where: str, parameter: Parameter, tensors: dict[str, TensorEntry]) -> None:
    _check_match(f"{where}.name", parameter.name, _TENSOR_NAME, "letters, digits and ._-")
    _check_tensor(where, parameter.dtype, parameter.shape)
    for source in parameter.sources:
        if source not in tensors:
            refuse(f"{where}.sources", show(source), "names of weights.tensors")
    if parameter.transform is not None:
        _check_match(f"{where}.transform", parameter.transform, _FUNCTION_NAME, "a function name")
        if not parameter.sources:
            refuse(f"{where}.sources", "empty", "at least one tensor to transform")
        return
    if len(parameter.sources) != 1:
        refuse(f"{where}.sources", show(parameter.sources), "one tensor, as transform is null")
    source_tensor = tensors[parameter.sources[0]]
    if (source_tensor.dtype, source_tensor.shape) != (parameter.dtype, parameter.shape):
        refuse(where, "of another dtype or shape than its source", "the same, as transform is null")


def _check_tensor(where: str, dtype: str, shape: tuple[int, ...]) -> None:
    if dtype not in ITEM_BYTES:
        refuse(f"{where}.dtype", show(dtype), "one of " + ", ".join(ITEM_BYTES))
    if len(shape) > 8 or any(size < 1 or size > MAX_TENSOR_BYTES for size in shape):
        refuse(f"{where}.shape", ascii(shape[:9])[:99], "at most 8 sizes of 1 or more")
    if math.prod(shape) * ITEM_BYTES[dtype] >= MAX_TENSOR_BYTES:
        refuse(f"{where}.shape", ascii(shape), f"less than {MAX_TENSOR_BYTES} bytes in all")


def _check_unique(where: str, what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            refuse(where, f"a list with the {what} {show(name)} twice", f"each {what} once")
        seen.add(name)


def _check_match(where: str, text: str, pattern: re.Pattern[str], wanted: str) -> None:
    if not pattern.fullmatch(text):
        refuse(where, show(text), wanted)


def _check_text(where: str, text: str) -> None:
    # Control characters in a name would reach the user's terminal.
    if not 1 <= len(text) <= 200 or not text.isprintable():
        refuse(where, show(text), "1 to 200 printable characters")


def _check_range(where: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        refuse(where, str(value), f"an integer from {lowest} to {highest}")


def _check_positive(where: str, value: float) -> None:
    if not value > 0.0:
        refuse(where, repr(value), "more than 0")
