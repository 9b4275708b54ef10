"""Open a GGUF file as a model source."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.sources.config import bias_flags, normalize_config
from ferrylm.compile.sources.files import FileRows, WeightFile
from ferrylm.compile.sources.gguf_config import gguf_config, gguf_generation
from ferrylm.compile.sources.gguf_header import GgufHeader, TensorInfo, malformed, read_header
from ferrylm.compile.sources.gguf_tokenizer import gguf_tokenizer
from ferrylm.compile.sources.names import model_name
from ferrylm.compile.sources.rows import RotaryPairsApart
from ferrylm.compile.sources.shapes import check_shapes
from ferrylm.compile.sources.source import Source, SourceTensor
from ferrylm.errors import UnsupportedModelError

_OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER = re.compile(r"blk\.(0|[1-9][0-9]{0,3})\.([a-z_]+)\.(weight|bias)", re.ASCII)
_ROPE_FACTORS = "rope_freqs.weight"
_EMBEDDING = "token_embd.weight"


def open_gguf(path: Path) -> Source:
    """Open a GGUF file, check its header and shapes, and build its tokenizer.

    Raises SourceError, UnsupportedModelError or TokenizerError.
    """
    file = WeightFile(path)
    try:
        return _source(file, read_header(file))
    except BaseException:
        file.close()
        raise


def _source(file: WeightFile, header: GgufHeader) -> Source:
    infos = {info.name: info for info in header.tensors}
    if _EMBEDDING not in infos or len(infos[_EMBEDDING].dimensions) != 2:
        raise malformed(f"no matrix {_EMBEDDING}")
    vocab_size = infos[_EMBEDDING].dimensions[1]
    config = gguf_config(header.metadata, vocab_size, _rope_factors(file, infos))
    config["tie_word_embeddings"] = "output.weight" not in infos
    config.update(bias_flags(huggingface_name(name) for name in infos if name != _ROPE_FACTORS))
    config = normalize_config(config, file.path.name)
    tensors = _tensors(file, header, config)
    check_shapes(config, tensors, file.path.name)
    return Source(
        kind="gguf",
        name=model_name(file.path),
        config=config,
        tensors=tensors,
        tokenizer=gguf_tokenizer(header.metadata, vocab_size),
        generation=gguf_generation(header.metadata),
        on_close=file.close,
    )


def _tensors(
    file: WeightFile, header: GgufHeader, config: dict[str, object]
) -> dict[str, SourceTensor]:
    pairs_adjoin = header.metadata.text("general.architecture") == "llama"
    tensors: dict[str, SourceTensor] = {}
    for info in header.tensors:
        if info.name == _ROPE_FACTORS:
            continue
        tensor = _tensor(file, info)
        if pairs_adjoin and (".q_proj." in tensor.name or ".k_proj." in tensor.name):
            head_dim = config["head_dim"]
            if not isinstance(head_dim, int) or tensor.row_count % head_dim:
                raise malformed(f"{tensor.row_count} rows of {info.name}, heads of {head_dim}")
            rows = RotaryPairsApart(tensor.rows, head_dim)
            tensor = SourceTensor(tensor.name, tensor.shape, tensor.encoding, rows)
        tensors[tensor.name] = tensor
    return tensors


def _tensor(file: WeightFile, info: TensorInfo) -> SourceTensor:
    dimensions = info.dimensions
    while len(dimensions) > 1 and dimensions[-1] == 1:
        dimensions = dimensions[:-1]
    name = huggingface_name(info.name)
    if len(dimensions) > 2:
        raise UnsupportedModelError(
            f"GGUF tensor {info.name} of {len(dimensions)} dimensions",
            wanted="vectors and matrices",
            fix="use a dense text model",
        )
    shape = tuple(reversed(dimensions))
    row_bytes = info.size_bytes // shape[0]
    if len(shape) == 1 and info.encoding not in ("F32", "F16", "BF16"):
        raise malformed(f"the vector {info.name} in {info.encoding}")
    return SourceTensor(name, shape, info.encoding, FileRows(file, info.offset, row_bytes))


def huggingface_name(name: str) -> str:
    """Translate a GGUF tensor name. Raises UnsupportedModelError for one of another model."""
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    match = _LAYER.fullmatch(name)
    if match is not None and match[2] in _LAYER_NAMES:
        return f"model.layers.{match[1]}.{_LAYER_NAMES[match[2]]}.{match[3]}"
    raise UnsupportedModelError(
        f"GGUF tensor {name!r}",
        wanted="the tensors of a dense Llama or Qwen model",
        fix="use a model of a supported kind; see docs/models.md",
    )


def _rope_factors(file: WeightFile, infos: dict[str, TensorInfo]) -> NDArray[np.float32] | None:
    """Read what Llama 3's converter makes of its rope scaling: one divisor per rotary pair."""
    info = infos.get(_ROPE_FACTORS)
    if info is None:
        return None
    if info.encoding != "F32" or info.size_bytes > 1 << 16:
        raise malformed(f"{_ROPE_FACTORS} of {info.size_bytes} bytes in {info.encoding}")
    factors = file.read(info.offset, info.size_bytes).view("<f4").astype(np.float32)
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise malformed(f"values of {_ROPE_FACTORS} that are not positive")
    return factors
