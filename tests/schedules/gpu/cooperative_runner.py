"""Builds products on cooperative matrices and runs them, with the instructions or without them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import tvm
from emulated_matrices import emulated

from ferrylm.compile import spirv
from ferrylm.runtime import vulkan_backend
from ferrylm.schedules.gpu.cooperative_rows import CooperativeRows
from ferrylm.schedules.gpu.rounded_rows import UNIT
from tests.schedules.gpu.vulkan_runner import PIPELINE

Array = np.ndarray
SHAPE = (8, 8, 8)  # what Mesa's software driver of 26.2 has
FEATURE = "cooperativeMatrix8x8x8Float16Float32"
TARGET = tvm.target.Target(
    {
        "kind": "vulkan",
        "supports_float16": True,
        "supports_integer_dot_product": True,
        "supports_cooperative_matrix": True,
        "thread_warp_size": 8,
        "max_num_threads": 1024,
        "max_shared_memory_per_block": 48 << 10,
        "max_spirv_version": 0x10500,
    },
    host={"kind": "llvm"},
)


def build(functions: Mapping[str, Any]) -> Any:
    """Compile PrimFuncs for the device that is there; the result gives each by its name."""
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    listed = FEATURE in vulkan_backend.loader_report()["devices"][0]["features"]
    with spirv.typed_errors(), nullcontext() if listed else emulated():
        return tvm.compile(tvm.IRModule(named), target=TARGET, tir_pipeline=PIPELINE)


def _order(width: int) -> Array:
    """Return which column each half of a row holds."""
    at = np.arange(32)
    word, half = at // 2, at % 2
    column = word % 4 // 2 * 16 + word // 4 * 4 + word % 2 + 2 * half
    return (np.arange(width // 32)[:, None] * 32 + column).ravel()


def as_words(x: Array) -> Array:
    """Return float32 rows (M, K) as CooperativeRows lie: uint32."""
    width = CooperativeRows(x.shape[1]).width
    wide = np.zeros((len(x), width), np.float16)
    wide[:, : x.shape[1]] = (x * np.float32(UNIT)).astype(np.float16)
    return np.ascontiguousarray(wide[:, _order(width)]).view(np.uint32)


def as_rows(words: Array) -> Array:
    """Return float64 (M, width) of CooperativeRows."""
    halves = np.ascontiguousarray(words).view(np.float16)
    found = np.zeros(halves.shape)
    found[:, _order(halves.shape[1])] = halves
    return found / UNIT
