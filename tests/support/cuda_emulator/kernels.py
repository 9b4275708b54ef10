"""Kernels as functions that TVM's host functions find and call."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import tvm_ffi

from ferrylm.compile.cuda.architectures import parse_architecture
from ferrylm.schedules.gpu.by_chip import CHIP, PROCESSORS
from tests.support.cuda_emulator.compiler import load
from tests.support.cuda_emulator.launches import EmulationError, Launch
from tests.support.cuda_emulator.lowering import DYNAMIC, Kernel

_PROCESSORS = 3  # of the chip: few, so that workgroups that stay for several tasks have several


class Kernels:
    """Compiled kernels; `failure` is what went wrong last."""

    def __init__(self, kernels: Sequence[Kernel], source: str, arch: str) -> None:
        self._kernels = kernels
        self._library = load(source, parse_architecture(arch))
        self._chip = parse_architecture(arch).number
        self._backward = False
        self.failure: EmulationError | None = None

    def register(self, backward: bool = False) -> None:
        """Let host functions find them: what no imported module has is looked for globally.

        A host function keeps what it found at its first call.
        """
        self._backward, self.failure = backward, None
        tvm_ffi.register_global_func(CHIP, lambda: self._chip, override=True)
        tvm_ffi.register_global_func(PROCESSORS, lambda: _PROCESSORS, override=True)
        for kernel in self._kernels:
            tvm_ffi.register_global_func(kernel.name, self._launcher(kernel), override=True)

    def _launcher(self, kernel: Kernel) -> Any:
        def launch(*values: Any) -> None:
            given, extents = values[: len(kernel.parameters)], values[len(kernel.parameters) :]
            sizes = dict(zip(kernel.tags, map(int, extents), strict=True))
            bits = [_bits(v, dtype) for v, dtype in zip(given, kernel.parameters, strict=True)]
            shape = Launch(_extents("blockIdx", sizes), _extents("threadIdx", sizes))
            shape = replace(shape, dynamic_bytes=sizes.get(DYNAMIC, 0))
            try:
                shape.run(self._library, kernel.name, bits, backward=self._backward)
            except EmulationError as error:
                self.failure = error  # TVM would pass it on as an error of its own
                raise

        return launch


def _extents(index: str, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    x, y, z = (sizes.get(f"{index}.{axis}", 1) for axis in "xyz")
    return x, y, z


def _bits(value: Any, dtype: str) -> int:
    """Return a kernel's argument as the 64 bits that hold it, the lowest first."""
    if dtype == "handle":
        return int(value.value or 0) if isinstance(value, ctypes.c_void_p) else int(value)
    if dtype.startswith("float"):
        code = {"float64": "<d", "float32": "<f", "float16": "<e"}[dtype]
        return int.from_bytes(struct.pack(code, value), "little")
    return int(value) & (1 << 64) - 1
