"""Run GPU kernels of TensorIR on a CPU, as the LLVM text that an AMD chip's code is made of.

    built = build({"f": func}, ARCHITECTURES["gfx1100"])
    (y,) = run(built["f"], [x, w], [((8, 64), "float32")])

The interface is that of cuda_emulator/runner.py, and so are fibers, launches and arrays. What runs
is the very text that LLVM optimizes and assembles for the chip, operations of ours included, with
each instruction of the wave as a function of all its lanes (instructions.cc, matrices.cc). What
LLVM makes of it is not seen here: compile/rocm/disassembly.py is for that. Chips without a dot
product of bytes (gfx9-generic, gfx10-1-generic, gfx1010) have assembly in it, and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

__all__ = ["AmdKernels", "AmdProgram", "build", "captured", "run"]

Array = np.ndarray
_BUILD = "target.build.rocm"
_TAGS = "tirx.kernel_launch_params"


class AmdKernels(Kernels):
    """Lowered kernels as a chip runs them, on waves of its width."""

    def __init__(self, module: Any, arch: Architecture) -> None:
        plain = plain_kernels(module)
        self._kernels = [_described(func) for func in plain.functions.values()]
        self._library, self._wave = load(kernel_text(plain, arch), arch), arch.wave
        self._chip, self._backward = 0, False
        self.failure = None

    def _launcher(self, kernel: Kernel) -> Any:
        launch, library = super()._launcher(kernel), instructions()

        def launch_on_waves(*values: Any) -> None:
            library.amd_begin_launch(self._wave)
            try:
                launch(*values)
            finally:
                library.amd_end_launch()

        return launch_on_waves


class AmdProgram:
    """Functions that are lowered and compiled together for one chip."""

    def __init__(self, functions: Mapping[str, Any], arch: Architecture) -> None:
        named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
        target = tvm.target.Target(rocm_target(arch), host="llvm")
        with captured() as kept, quiet():
            self.host = tvm.compile(tvm.IRModule(named), target=target, tir_pipeline=ON_DEVICE).mod
        self.host.clear_imports()
        self._kernels = AmdKernels(kept[0], arch)

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


@contextmanager
def captured() -> Iterator[list[Any]]:
    """Take the lowered functions of a device away from a build; hosts look for them globally."""
    kept: list[Any] = []

    def keep(functions: Any, _target: Any) -> Any:
        kept.append(functions)
        return tvm_ffi.get_global_func("runtime.SourceModuleCreate")("", "rocm")

    original = tvm_ffi.get_global_func(_BUILD)
    tvm_ffi.register_global_func(_BUILD, keep, override=True)
    try:
        yield kept
    finally:
        tvm_ffi.register_global_func(_BUILD, original, override=True)


def _described(func: Any) -> Kernel:
    parameters = tuple(_dtype(parameter) for parameter in func.params)
    tags = tuple(str(tag) for tag in func.attrs[_TAGS])
    return Kernel(str(func.attrs["global_symbol"]), parameters, tags)


def _dtype(parameter: Any) -> str:
    kind = str(parameter.ty)
    return kind if re.fullmatch(r"(u?int|float|bool)\d*", kind) else "handle"
