"""Run GPU kernels of TensorIR on a CPU, as the LLVM text that an AMD chip's code is made of.

    built = build({"f": func}, ARCHITECTURES["gfx1100"])
    (y,) = run(built["f"], [x, w], [((8, 64), "float32")])

The interface is that of cuda_emulator/runner.py, and so are fibers, launches and arrays. What runs
is the very text that LLVM optimizes and assembles for the chip, operations of ours included, with
each instruction of the wave as a function of all its lanes (instructions.cc, matrices.cc). What
LLVM makes of it is not seen here: compile/rocm/disassembly.py is for that.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
import tvm_ffi

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.build_hook import plain_kernels
from ferrylm.compile.rocm.code_object import kernel_text, quiet, rocm_target
from tests.support.amd_emulator.compiler import instructions, load
from tests.support.cuda_emulator.kernels import Kernels
from tests.support.cuda_emulator.lowering import ON_DEVICE, Kernel
from tests.support.cuda_emulator.runner import Function
from tests.support.cuda_emulator.runner import run as run_once

__all__ = ["AmdProgram", "build", "run"]

Array = np.ndarray
_BUILD = "target.build.rocm"
_TAGS = "tirx.kernel_launch_params"


class _AmdKernels(Kernels):
    """Kernels of a library of ours, on waves of the chip's width."""

    def __init__(self, kernels: Sequence[Kernel], library: ctypes.CDLL, wave: int) -> None:
        self._kernels, self._library, self._wave = kernels, library, wave
        self._backward = False
        self.failure = None

    def register(self, backward: bool = False) -> None:
        super().register(backward)
        instructions().amd_set_wave(self._wave)


class AmdProgram:
    """Functions that are lowered and compiled together for one chip."""

    def __init__(self, functions: Mapping[str, Any], arch: Architecture) -> None:
        named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
        kept: list[Any] = []
        self.host = _lower(tvm.IRModule(named), arch, kept)
        self.kernels = plain_kernels(kept[0])
        library = load(kernel_text(self.kernels, arch), arch)
        described = [_described(func) for func in self.kernels.functions.values()]
        self._kernels = _AmdKernels(described, library, arch.wave)

    def __getitem__(self, name: str) -> Function:
        """Return a function by its name."""
        return Function(self, name)  # type: ignore[arg-type]

    def call(self, name: str, arguments: Sequence[Any], backward: bool) -> None:
        """Let TVM's host function launch its kernels. Raises EmulationError."""
        self._kernels.register(backward)
        try:
            self.host[name](*arguments)
        except Exception as error:
            if self._kernels.failure is None:
                raise
            raise self._kernels.failure from error


def build(functions: Mapping[str, Any], arch: Architecture) -> AmdProgram:
    """Compile PrimFuncs; the result gives each by its name."""
    return AmdProgram(functions, arch)


def run(
    function: Function, inputs: Sequence[Any], outputs: Sequence[tuple[tuple[int, ...], str]]
) -> list[Array]:
    """Call a kernel on arrays, its threads in either order; its last arguments are outputs.

    Raises AssertionError where the order makes a difference, which is a race.
    """
    found, other = (run_once(function, inputs, outputs, backward=way) for way in (False, True))
    for place, (one, two) in enumerate(zip(found, other, strict=True)):
        np.testing.assert_array_equal(one, two, f"array {place} depends on the order of threads")
    return found


def _lower(module: Any, arch: Architecture, kept: list[Any]) -> Any:
    """Return the host's module; the device's functions are appended to `kept`."""

    def keep(functions: Any, _target: Any) -> Any:
        kept.append(functions)
        return tvm_ffi.get_global_func("runtime.SourceModuleCreate")("", "rocm")

    original = tvm_ffi.get_global_func(_BUILD)
    tvm_ffi.register_global_func(_BUILD, keep, override=True)
    try:
        with quiet():
            target = tvm.target.Target(rocm_target(arch), host="llvm")
            host = tvm.compile(module, target=target, tir_pipeline=ON_DEVICE).mod
    finally:
        tvm_ffi.register_global_func(_BUILD, original, override=True)
    host.clear_imports()
    return host


def _described(func: Any) -> Kernel:
    parameters = tuple(_dtype(parameter) for parameter in func.params)
    tags = tuple(str(tag) for tag in func.attrs[_TAGS])
    return Kernel(str(func.attrs["global_symbol"]), parameters, tags)


def _dtype(parameter: Any) -> str:
    kind = str(parameter.ty)
    return kind if re.fullmatch(r"(u?int|float|bool)\d*", kind) else "handle"
