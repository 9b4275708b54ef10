"""Builds GPU kernels for Vulkan and runs them on numpy arrays, on whatever device is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm

import ferrylm.compile.gpu_pipeline
from ferrylm.compile import spirv
from ferrylm.runtime.device_tensors import aligned, aligned_zeros, as_array, as_tensor
from ferrylm.schedules.gpu.profile import GpuProfile

Array = np.ndarray
PIPELINE = ferrylm.compile.gpu_pipeline.PIPELINE
# lavapipe's subgroups have 8 lanes; with and without dot products of bytes.
DOT = GpuProfile("dot8", "vulkan", 8, dot=True, shared_bytes=32 << 10)
FLOAT = GpuProfile("float8", "vulkan", 8, dot=False, shared_bytes=32 << 10)
TARGET = tvm.target.Target(
    {
        "kind": "vulkan",
        "supports_float16": True,
        "supports_int8": True,
        "supports_int16": True,
        "supports_int64": True,
        "supports_8bit_buffer": True,
        "supports_16bit_buffer": True,
        "supports_integer_dot_product": True,
        "thread_warp_size": 8,
        "max_num_threads": 1024,
        "max_shared_memory_per_block": 32 << 10,
        "max_spirv_version": 0x10600,
    },
    host={"kind": "llvm"},
)


def build(functions: Mapping[str, Any]) -> Any:
    """Compile PrimFuncs; the result gives each by its name."""
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    with spirv.typed_errors():
        return tvm.compile(tvm.IRModule(named), target=TARGET, tir_pipeline=PIPELINE)


def device() -> Any:
    """Return the Vulkan device."""
    return tvm.device("vulkan", 0)


def upload(array: Array) -> Any:
    """Return a tensor on the device."""
    tensor = tvm.runtime.empty(array.shape, str(array.dtype), device())
    as_tensor(aligned(array)).copyto(tensor)
    return tensor


def download(tensor: Any) -> Array:
    """Return a tensor's content."""
    host = aligned_zeros(tuple(int(n) for n in tensor.shape), str(tensor.dtype))
    tensor.copyto(as_tensor(host))
    device().sync()
    return as_array(as_tensor(host))


def run(
    function: Any, inputs: list[Any], outputs: Sequence[tuple[tuple[int, ...], str]]
) -> list[Array]:
    """Call a kernel on arrays; its last arguments are outputs, which start as garbage."""
    results = [upload(_garbage(shape, dtype)) for shape, dtype in outputs]
    arguments = [upload(value) if isinstance(value, np.ndarray) else value for value in inputs]
    function(*arguments, *results)
    device().sync()
    return [download(result) for result in results]


def run_in_place(function: Any, arguments: list[Any]) -> list[Array]:
    """Call a kernel on copies of arrays; return them all as it left them."""
    held = [upload(value) if isinstance(value, np.ndarray) else value for value in arguments]
    function(*held)
    device().sync()
    return [
        download(one)
        for one, value in zip(held, arguments, strict=True)
        if isinstance(value, np.ndarray)
    ]


def _garbage(shape: tuple[int, ...], dtype: str) -> Array:
    found = np.empty(shape, dtype)
    found.view(np.uint8)[...] = 0x5A
    return found
