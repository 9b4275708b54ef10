"""How canonical weights are cut into safetensors shards, decided before any is made."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ferrylm.errors import CompileError
from ferrylm.runtime.manifest import TensorEntry
from ferrylm.runtime.tensor_types import ITEM_BYTES, SAFETENSORS_NAMES

SHARD_BYTES = 1 << 30

# The data begins at a multiple of this, and as sizes of weights are multiples of it as well
# (but for odd shapes), so does every tensor. The format allows no holes to make it exact.
_ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class TensorSpec:
    """One canonical tensor that will be written; `dtype` is numpy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Return the bytes of its data."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class ShardPlan:
    """One shard: its first bytes (length and header), then the data of its tensors in order."""

    prefix: bytes
    tensors: tuple[TensorSpec, ...]

    @property
    def size_bytes(self) -> int:
        """Return the size of the whole file."""
        return len(self.prefix) + sum(tensor.size_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class WeightPlan:
    """All shards; tensors must be given to the writer in the order of `tensors`."""

    shards: tuple[ShardPlan, ...]

    @property
    def size_bytes(self) -> int:
        """Return the size of all files."""
        return sum(shard.size_bytes for shard in self.shards)

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        """List the manifest's entries of all tensors, in order."""
        return tuple(
            TensorEntry(tensor.name, tensor.dtype, tensor.shape, index)
            for index, shard in enumerate(self.shards)
            for tensor in shard.tensors
        )


def plan_weights(specs: Sequence[TensorSpec], shard_bytes: int = SHARD_BYTES) -> WeightPlan:
    """Cut tensors into shards of at most `shard_bytes` of data, in the order given.

    A larger tensor gets a shard of its own. Raises CompileError for a name twice or a dtype that
    an artifact cannot hold.
    """
    _check_specs(specs)
    groups: list[list[TensorSpec]] = []
    filled = 0
    for spec in specs:
        if not groups or filled + spec.size_bytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(spec)
        filled += spec.size_bytes
    return WeightPlan(tuple(ShardPlan(_prefix(group), tuple(group)) for group in groups))


def _check_specs(specs: Sequence[TensorSpec]) -> None:
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise CompileError(
                f"two tensors named {spec.name}", wanted="each name once", fix="rename one"
            )
        seen.add(spec.name)
        if spec.dtype not in ITEM_BYTES:
            raise CompileError(
                f"the tensor {spec.name} of {spec.dtype}",
                wanted="one of " + ", ".join(ITEM_BYTES),
                fix="convert it first",
            )


def _prefix(tensors: Sequence[TensorSpec]) -> bytes:
    header: dict[str, object] = {}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.size_bytes
        header[tensor.name] = {
            "dtype": SAFETENSORS_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    # The format says how to pad: spaces after the header.
    text += b" " * (-(8 + len(text)) % _ALIGNMENT_BYTES)
    return struct.pack("<Q", len(text)) + text
