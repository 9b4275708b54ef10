"""Random canonical weights, and their packing in numpy as ferrylm.schedules.cpu.layout draws it."""

from __future__ import annotations

import numpy as np

from ferrylm.compile.quantize import tensor_layout
from ferrylm.schedules.cpu.layout import GROUP, LANES, WeightFormat

Array = np.ndarray
SCHEMES = {"q4": "q4f16", "q8": "q8f16", "f16": "q0f16", "f32": "q0f32"}


def canonical_weights(
    storage: str, minimum: bool, rows: int, columns: int, seed: int = 0
) -> dict[str, Array]:
    """Return canonical arrays: any codes, also in the padding, and scales of both signs."""
    generator = np.random.default_rng(seed)
    found = {}
    for suffix, (dtype, shape) in tensor_layout(SCHEMES[storage], rows, columns, minimum).items():
        if suffix == "codes":
            raw = generator.bytes(int(np.prod(shape)))
            found[suffix] = np.frombuffer(raw, dtype).reshape(shape)
        else:
            found[suffix] = (generator.standard_normal(shape) / 8).astype(dtype)
    return found


def pack(fmt: WeightFormat, canonical: dict[str, Array]) -> dict[str, Array]:
    """Return the tensors that kernels take, made from the canonical ones."""
    return {
        suffix: _pack_tensor(fmt, suffix, canonical[suffix], dtype).reshape(shape)
        for suffix, (dtype, shape) in fmt.tensors().items()
    }


def _pack_tensor(fmt: WeightFormat, suffix: str, source: Array, dtype: str) -> Array:
    parts = np.split(source, 2) if fmt.pairs else [source]
    packed = [_pack_rows(fmt, suffix, part) for part in parts]
    # (blocks, columns or groups, parts, ...)
    return np.ascontiguousarray(np.stack(packed, axis=2)).view(dtype)


def _pack_rows(fmt: WeightFormat, suffix: str, rows: Array) -> Array:
    padding = -len(rows) % LANES
    filled = np.concatenate([rows, np.zeros((padding, rows.shape[1]), rows.dtype)])
    blocks = filled.reshape(-1, LANES, rows.shape[1])
    if suffix != "codes":
        return blocks.swapaxes(1, 2)
    if fmt.storage == "q4":
        return _pack_nibbles(blocks)
    groups = blocks.reshape(len(blocks), LANES, -1, GROUP).transpose(0, 2, 3, 1)
    if fmt.arithmetic == "f32":
        return groups  # (block, group, column, lane)
    quads = groups.reshape(*groups.shape[:2], 8, 4, LANES)
    return quads.swapaxes(3, 4)  # (block, group, quad, lane, column of the quad)


def _pack_nibbles(blocks: Array) -> Array:
    bytes_ = blocks.reshape(len(blocks), LANES, -1, 16)
    codes = np.concatenate([bytes_ & 15, bytes_ >> 4], axis=3)  # (block, lane, group, column)
    octets = codes.reshape(*codes.shape[:3], 4, 2, 4)
    packed = octets[..., 0, :] | octets[..., 1, :] << 4  # (block, lane, group, octet, byte)
    return packed.transpose(0, 2, 3, 1, 4)
