"""Open a folder of weights in MLC's layout (q4f16_1, q4f32_1, q0f16, q0f32) as a model source.

Files: mlc-chat-config.json, tensor-cache.json (older: ndarray-cache.json), params_shard_*.bin,
tokenizer.json. MLC fuses q, k, v and gate, up; Hugging Face's names are slices of their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.sources.config import bias_flags, normalize_config
from ferrylm.compile.sources.generation import generation_defaults
from ferrylm.compile.sources.huggingface import read_object
from ferrylm.compile.sources.huggingface_tokenizer import read_tokenizer
from ferrylm.compile.sources.mlc_cache import read_cache
from ferrylm.compile.sources.names import model_name
from ferrylm.compile.sources.rows import SlicedRows
from ferrylm.compile.sources.shapes import CHECKED_MODEL_TYPES, check_shapes, expected_shapes
from ferrylm.compile.sources.source import Source, SourceTensor
from ferrylm.errors import SourceError, UnsupportedModelError

MLC_CONFIG = "mlc-chat-config.json"
_QUANTIZED = {"q4f16_1": "MLC_Q4F16_1", "q4f32_1": "MLC_Q4F32_1"}
_PLAIN = ("q0f16", "q0bf16", "q0f32")
_CODE_BYTES = 16  # of a group of 32
_FUSED = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.c_attn": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}

Bytes = NDArray[np.uint8]


def open_mlc(folder: Path) -> Source:
    """Open an MLC folder. Raises SourceError, UnsupportedModelError or TokenizerError."""
    settings = read_object(folder / MLC_CONFIG)
    quantization = settings.get("quantization")
    if quantization not in (*_QUANTIZED, *_PLAIN):
        raise _unsupported(
            f"quantization {ascii(quantization)[:40]}",
            "one of " + ", ".join((*_QUANTIZED, *_PLAIN)),
        )
    raw = _huggingface_keys(settings)
    with ExitStack() as stack:
        stored = read_cache(folder, stack)
        config = normalize_config(raw, MLC_CONFIG)
        if config["model_type"] not in CHECKED_MODEL_TYPES:
            raise _unsupported(
                f"model type {ascii(config['model_type'])[:40]}",
                "one of " + ", ".join(sorted(CHECKED_MODEL_TYPES)),
            )
        tensors = _split_fused(_join_planes(stored, _QUANTIZED.get(str(quantization))), config)
        config.update(bias_flags(tensors))
        check_shapes(config, tensors, folder.name)
        return Source(
            kind="mlc",
            name=model_name(folder),
            config=config,
            tensors=tensors,
            tokenizer=read_tokenizer(folder, config, _stop_ids(settings)),
            generation=generation_defaults(settings, MLC_CONFIG),
            on_close=stack.pop_all().close,
        )


def _huggingface_keys(settings: Mapping[str, object]) -> dict[str, object]:
    model = settings.get("model_config")
    if type(model) is not dict:
        raise SourceError(
            f"{MLC_CONFIG} without model_config",
            wanted="an object of the model's sizes",
            fix="fetch the folder again",
        )
    renamed = {
        "model_type": settings.get("model_type"),
        "rope_theta": model.get("position_embedding_base", model.get("rope_theta")),
        "max_position_embeddings": model.get(
            "max_position_embeddings",
            model.get("context_window_size", settings.get("context_window_size")),
        ),
        # MLC writes -1 for none.
        "sliding_window": None
        if model.get("sliding_window_size") == -1
        else model.get("sliding_window_size", model.get("sliding_window")),
    }
    return {**model, **renamed}


def _stop_ids(settings: Mapping[str, object]) -> dict[str, object]:
    """Gather the stop tokens under the key of generation_config.json."""
    template = settings.get("conv_template")
    stops = template.get("stop_token_ids") if type(template) is dict else None
    eos = settings.get("eos_token_id")
    return {
        "eos_token_id": [
            *(stops if type(stops) is list else []),
            *(eos if type(eos) is list else [eos]),
        ]
    }


@dataclass(frozen=True)
class _PlaneRows:
    """Rows of blocks, 16 bytes of codes and a scale each, put together from two tensors."""

    codes: SourceTensor
    scale: SourceTensor
    scale_dtype: str

    def read(self, start: int, stop: int) -> Bytes:
        codes = self.codes.rows.read(start, stop).reshape(stop - start, -1, _CODE_BYTES)
        # Exact: MLC stores a float32 scale as itself or as the bfloat16 it equals.
        scale = self.scale.dequantize(start, stop).astype(self.scale_dtype)
        scale_bytes = scale.view(np.uint8).reshape(*codes.shape[:2], -1)
        return np.concatenate([codes, scale_bytes], axis=2).reshape(stop - start, -1)


def _join_planes(
    stored: Mapping[str, SourceTensor], encoding: str | None
) -> dict[str, SourceTensor]:
    """Turn each pair NAME.q_weight, NAME.q_scale into one tensor NAME.weight, padding included."""
    tensors: dict[str, SourceTensor] = {}
    for name, tensor in stored.items():
        if name.endswith(".q_scale"):
            continue
        if not name.endswith(".q_weight"):
            if tensor.encoding == "UINT32":
                raise _mismatch(f"tensor {ascii(name)[:100]} of dtype uint32")
            tensors[name] = tensor
            continue
        scale = stored.get(name.removesuffix("q_weight") + "q_scale")
        if encoding is None or scale is None or tensor.encoding != "UINT32":
            raise _mismatch(f"tensor {ascii(name)[:100]} without its scale")
        rows, words = tensor.row_count, tensor.columns
        if scale.encoding == "UINT32" or scale.shape != (rows, words // 4) or words % 4:
            raise _mismatch(f"scales {scale.shape} of {ascii(name)[:100]} {tensor.shape}")
        scale_dtype = "<f2" if encoding == "MLC_Q4F16_1" else "<f4"
        name = name.removesuffix("q_weight") + "weight"
        planes = _PlaneRows(tensor, scale, scale_dtype)
        tensors[name] = SourceTensor(name, (rows, words * 8), encoding, planes)
    return tensors


def _split_fused(
    tensors: Mapping[str, SourceTensor], config: Mapping[str, object]
) -> dict[str, SourceTensor]:
    """Give each fused matrix's parts Hugging Face's names, and rows their true length."""
    needed, optional = expected_shapes(config)
    shapes = {**optional, **needed}
    result: dict[str, SourceTensor] = {}
    for name, tensor in tensors.items():
        fused = next((key for key in _FUSED if f".{key}." in name), None)
        parts = [name] if fused is None else [name.replace(fused, part) for part in _FUSED[fused]]
        first = 0
        for part in parts:
            if part not in shapes:
                raise _mismatch(f"tensor {ascii(name)[:100]}")
            rows = shapes[part][0] if fused is not None else tensor.row_count
            result[part] = _part(tensor, part, first, rows, shapes[part])
            first += rows
        if first != tensor.row_count:
            raise _mismatch(f"{tensor.row_count} rows of {ascii(name)[:100]}, not {first}")
    return result


def _part(
    tensor: SourceTensor, name: str, first: int, rows: int, expected: tuple[int, ...]
) -> SourceTensor:
    shape = (rows, *tensor.shape[1:])
    # A row of codes is padded to whole groups; its true length is the config's.
    if tensor.format.pads_rows and len(expected) == 2 and 0 <= shape[1] - expected[1] < 32:
        shape = (rows, expected[1])
    view = (
        tensor.rows if first == 0 and rows == tensor.row_count else SlicedRows(tensor.rows, first)
    )
    return replace(tensor, name=name, shape=shape, rows=view)


def _unsupported(found: str, wanted: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{MLC_CONFIG} with {found}",
        wanted=wanted,
        fix="use the model's Hugging Face folder or a GGUF file",
    )


def _mismatch(found: str) -> SourceError:
    return SourceError(
        f"MLC weights with {found}",
        wanted="the weights of the model that mlc-chat-config.json describes",
        fix="check that the files belong together, or fetch the folder again",
    )
