"""How many bytes a model holds and how many of them one decoded token must read."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ferrylm.runtime.kv_layout import token_numbers
from ferrylm.runtime.manifest import Library, Manifest, ModelConfig, Parameter, TensorEntry
from ferrylm.runtime.tensor_types import ITEM_BYTES

_NOT_WEIGHTS = (".scale", ".minimum")


def stored_bytes(tensors: Iterable[TensorEntry]) -> int:
    """Return the size of the canonical weights, scales and norms included."""
    return sum(_size_bytes(tensor.dtype, tensor.shape) for tensor in tensors)


def parameter_count(tensors: Iterable[TensorEntry]) -> int:
    """Return how many weights the canonical tensors stand for.

    A byte of 4-bit codes holds two weights. Columns that only pad a row to whole groups are
    counted; no published model has them.
    """
    count = 0
    for tensor in tensors:
        if not tensor.name.endswith(_NOT_WEIGHTS):
            packed = tensor.name.endswith(".codes") and tensor.dtype == "uint8"
            count += math.prod(tensor.shape) * (2 if packed else 1)
    return count


def kv_bytes_per_token(model: ModelConfig, library: Library) -> int:
    """Return the size of the keys and values of one position in all layers."""
    numbers = token_numbers(library.kv_layout, model.head_dim)
    return 2 * model.num_layers * model.num_kv_heads * numbers * ITEM_BYTES[library.kv_dtype]


def weight_bytes_per_token(manifest: Manifest, library: Library) -> int:
    """Return the weights that decoding one token reads: all but the rows of other tokens.

    The embedding counts only where it is also the output head.
    """
    return sum(
        _size_bytes(parameter.dtype, parameter.shape)
        for parameter in library.parameters
        if not _only_looked_up(parameter, manifest.model, library.parameters)
    )


def _only_looked_up(
    parameter: Parameter, model: ModelConfig, parameters: tuple[Parameter, ...]
) -> bool:
    """Say whether one row of the parameter is read, not all."""
    if not all(_is_embedding(source) for source in parameter.sources):
        return False
    if not model.tied_embedding:
        return True
    # A library may hold the tied matrix twice: as rows to look up and repacked as a head.
    has_own_head = any(
        _is_embedding(p.sources[0]) and p.name.startswith("head") for p in parameters
    )
    return has_own_head and not parameter.name.startswith("head")


def _is_embedding(tensor_name: str) -> bool:
    return tensor_name.partition(".")[0] == "embedding"


def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * ITEM_BYTES[dtype]
