"""Builds kernels for a profile and runs them on numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tvm

import ferrylm.compile.tir_pipeline  # registers the pipeline
from ferrylm.runtime.cpu_features import host_cpu
from ferrylm.runtime.device_tensors import aligned, aligned_zeros, as_array, as_tensor
from ferrylm.runtime.threads import use_threads
from ferrylm.schedules.cpu.profile import PROFILES

PIPELINE = ferrylm.compile.tir_pipeline.PIPELINE
HOST_PROFILES = ("x86-64-v3", "x86-64-v4-vnni")
DOT_PROFILES = ("x86-64-v3", "x86-64-v3-vnni", "x86-64-v4-vnni")  # they differ in the byte product
Array = np.ndarray


def missing_features(profile: str) -> list[str]:
    """Return what this machine lacks to run kernels of a profile."""
    host, wanted = host_cpu(), PROFILES[profile]
    if host.machine != wanted.machine:
        return [wanted.machine]
    return [name for name in wanted.cpu_features if name not in host.features]


def skip_unless_host_runs(profile: str) -> None:
    """Skip the calling test on a machine that cannot run the profile."""
    missing = missing_features(profile)
    if missing:
        pytest.skip(f"this machine lacks {', '.join(missing)} for {profile}")


def build(profile: str, functions: Mapping[str, Any]) -> Any:
    """Compile PrimFuncs for a profile; the result gives each by its name.

    They run in one thread: a second would wait for work in a busy loop.
    """
    use_threads(1)
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    target = tvm.target.Target(PROFILES[profile].tvm_target())
    return tvm.compile(tvm.IRModule(named), target=target, tir_pipeline=PIPELINE)


def assembly(profile: str, functions: Mapping[str, Any]) -> str:
    """Return the machine code of PrimFuncs as text, with the module of each target in it."""
    module = build(profile, functions).mod
    text = module.inspect_source("asm")
    assert isinstance(text, str)
    return text


def run(
    function: Callable[..., Any], arguments: list[Any], shape: tuple[int, ...], dtype: str
) -> Array:
    """Call a kernel whose last argument is its output; the output starts as garbage."""
    output = aligned_zeros(shape, dtype)
    output.view(np.uint8)[...] = 0x5A
    function(*map(_argument, arguments), as_tensor(output))
    return output


def _argument(value: Any) -> Any:
    return as_tensor(aligned(value)) if isinstance(value, np.ndarray) else value


def shared(*arrays: Array) -> list[Any]:
    """Return tensors of copies, for kernels that write several arguments; see `contents`."""
    tensors = []
    for array in arrays:
        copy = aligned_zeros(array.shape, str(array.dtype))
        copy[...] = array
        tensors.append(as_tensor(copy))
    return tensors


def contents(tensor: Any) -> Array:
    """Return a tensor as numpy."""
    return as_array(tensor)
