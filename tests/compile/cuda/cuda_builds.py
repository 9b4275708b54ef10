"""Building small kernels into libraries with code for NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tvm

from ferrylm.compile.cuda.architectures import parse_architectures
from ferrylm.compile.cuda.build_hook import ahead_of_time, read_sources
from ferrylm.compile.cuda.library import cuda_target, export_cuda_library
from ferrylm.compile.cuda.packing import FatBinary
from ferrylm.compile.gpu_pipeline import PIPELINE


def build_kernels(functions: Iterable[Any]) -> Any:
    """Return the executable of PrimFuncs that have names, with sources for code."""
    module = tvm.IRModule({func.attrs["global_symbol"]: func for func in functions})
    with ahead_of_time():
        return tvm.compile(module, target=cuda_target(), tir_pipeline=PIPELINE)


def sources(executable: Any) -> dict[str, str]:
    """Return the CUDA sources of each body."""
    (device,) = executable.mod.imports
    return read_sources(device.inspect_source("cuda").encode())


def build_library(functions: Iterable[Any], *architectures: str) -> tuple[bytes, FatBinary]:
    """Return a shared library and its device code."""
    return export_cuda_library(build_kernels(functions), parse_architectures(architectures))
