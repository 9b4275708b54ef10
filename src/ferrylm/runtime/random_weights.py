"""Weights out of a seed, for benchmarks of models whose weights are not at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.manifest import TensorEntry

_DEVIATION = 0.02  # of the weights, about that of trained ones
_CODE_DEVIATION = {"uint8": 16 / 12**0.5, "int8": 256 / 12**0.5}  # of uniform 4-bit, 8-bit codes


def random_tensor(name: str, entries: Mapping[str, TensorEntry], seed: int) -> npt.NDArray[Any]:
    """Return a canonical tensor; seed, name, dtype and shape decide its content."""
    entry = entries[name]
    digest = hashlib.sha256(f"{seed}/{entry.name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
    if entry.name.endswith(".codes"):
        raw = generator.bytes(int(np.prod(entry.shape, dtype=np.int64)))
        return np.frombuffer(raw, entry.dtype).reshape(entry.shape)
    if entry.name.endswith(".scale"):
        scale = generator.random(entry.shape, np.float32) + np.float32(0.5)
        codes = entries[name.removesuffix("scale") + "codes"]
        deviation = np.float32(_DEVIATION / _CODE_DEVIATION[codes.dtype])
        scaled: npt.NDArray[Any] = (scale * deviation).astype(entry.dtype)
        return scaled
    if len(entry.shape) == 1:
        return np.ones(entry.shape, entry.dtype)
    weights = generator.standard_normal(entry.shape, np.float32) * np.float32(_DEVIATION)
    rounded: npt.NDArray[Any] = weights.astype(entry.dtype)
    return rounded
