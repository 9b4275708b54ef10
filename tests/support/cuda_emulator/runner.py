"""Run GPU kernels of TensorIR on a CPU, as the CUDA C++ that TVM prints for them.

    from tests.support.cuda_emulator.runner import build, run, run_cuda

    (y,) = run_cuda(func, x, w, outputs=[((8, 64), "float32")])    # one PrimFunc, once
    built = build({"f": func, "g": other}, arch="90a")             # several, compiled together
    y, z = run(built["f"], [x, w], [((8, 64), "float32"), ((8, 2), "uint32")])

`run` is that of tests/schedules/gpu/vulkan_runner.py, so that both can run one table. Inputs are
copied, so a kernel that updates an argument in place is `run_in_place`. Kernels are lowered by our
pipeline, compiled by the host's C++ compiler against include/, and run thread by thread:
workgroup.h says how. What is an error (EmulationError):

- an operation of a warp or a workgroup that not all of its threads reach, or in different order
- a thread that waits for ever
- reads and writes outside of an array; vectors at addresses that are no multiple of their size
- a private array that is read beyond its end

Shared memory starts as NaN, private memory as garbage, and `cp.async` copies when it is waited for,
so what nobody wrote or waited for shows in results. `run(..., backward=True)` runs the threads in
the opposite order: results that differ are a race.

Operations of ours run as they are written: the C++ of compile/cuda/operations_*.py, its assembly
turned into calls (assembly.py). An operation of known instructions needs nothing here. An
instruction that is new gets a function in include/ptx_FAMILY.h, named like it: `mma.sync.x.y` is
`ptx::mma_sync_x_y`; `together` (workgroup.h) is the way to write one that concerns a whole warp.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tvm_ffi

from ferrylm.compile.cuda.architectures import parse_architecture
from tests.support.cuda_emulator.compiler import emulator, load
from tests.support.cuda_emulator.device_arrays import DeviceArray
from tests.support.cuda_emulator.lowering import DYNAMIC, Kernel, Lowered, lower

Array = np.ndarray
_PLACES = {
    "blockIdx.x": 0, "blockIdx.y": 1, "blockIdx.z": 2,
    "threadIdx.x": 3, "threadIdx.y": 4, "threadIdx.z": 5, DYNAMIC: 7,
}  # fmt: skip
_STATIC = 6
_GARBAGE = 0x5A


class EmulationError(Exception):
    """A kernel did what no kernel may do."""


class Program:
    """Functions that are lowered and compiled together."""

    def __init__(self, lowered: Lowered, arch: str) -> None:
        self.lowered, self.source = lowered, lowered.source
        self._library = load(lowered.source, parse_architecture(arch))
        self._backward = False
        self._failure: str | None = None

    def __getitem__(self, name: str) -> Function:
        """Return a function by its name."""
        return Function(self, name)

    def call(self, name: str, arguments: Sequence[Any], backward: bool) -> None:
        """Let TVM's host function launch its kernels. Raises EmulationError."""
        self._backward, self._failure = backward, None
        with self._registered():
            try:
                self.lowered.host[name](*arguments)
            except Exception as error:
                if self._failure is None:
                    raise
                raise EmulationError(self._failure) from error

    @contextmanager
    def _registered(self) -> Iterator[None]:
        # A function that no imported module has is looked for among TVM's global ones.
        for kernel in self.lowered.kernels:
            tvm_ffi.register_global_func(kernel.name, self._launcher(kernel), override=True)
        yield

    def _launcher(self, kernel: Kernel) -> Any:
        body = getattr(self._library, f"emulated_{kernel.name}")
        static = ctypes.c_uint32.in_dll(self._library, f"shared_bytes_of_{kernel.name}").value

        def launch(*values: Any) -> None:
            given, extents = values[: len(kernel.parameters)], values[len(kernel.parameters) :]
            sizes = [1, 1, 1, 1, 1, 1, static, 0]
            for tag, extent in zip(kernel.tags, extents, strict=True):
                sizes[_PLACES[tag]] = int(extent)
            bits = [_bits(v, dtype) for v, dtype in zip(given, kernel.parameters, strict=True)]
            found = emulator().emulator_launch(
                body,
                (ctypes.c_uint64 * max(1, len(bits)))(*bits),
                (ctypes.c_uint32 * len(sizes))(*sizes),
                int(self._backward),
            )
            if found is not None:
                self._failure = f"{kernel.name}: {found.decode()}"
                raise RuntimeError(self._failure)

        return launch


class Function:
    """One of a program's functions."""

    def __init__(self, program: Program, name: str) -> None:
        self.program, self.name = program, name

    def __call__(self, *arguments: Any, backward: bool = False) -> None:
        """Call it with numbers and tensors of DeviceArray. Raises EmulationError."""
        self.program.call(self.name, arguments, backward)


def build(functions: Mapping[str, Any], arch: str = "90a") -> Program:
    """Compile PrimFuncs; the result gives each by its name."""
    return Program(lower(functions, arch), arch)


def run(
    function: Function,
    inputs: Sequence[Any],
    outputs: Sequence[tuple[tuple[int, ...], str]],
    *,
    backward: bool = False,
) -> list[Array]:
    """Call a kernel on arrays; its last arguments are outputs, which start as garbage."""
    garbage = []
    for shape, dtype in outputs:
        empty = np.empty(shape, dtype)
        empty.view(np.uint8)[...] = _GARBAGE
        garbage.append(empty)
    found = run_in_place(function, [*inputs, *garbage], backward=backward)
    return found[len(found) - len(garbage) :]


def run_in_place(
    function: Function, arguments: Sequence[Any], *, backward: bool = False
) -> list[Array]:
    """Call a kernel on copies of arrays; return all arrays as it left them.

    Raises EmulationError.
    """
    held = [DeviceArray(value) if isinstance(value, np.ndarray) else value for value in arguments]
    function(
        *(value.tensor if isinstance(value, DeviceArray) else value for value in held),
        backward=backward,
    )
    arrays = [value for value in held if isinstance(value, DeviceArray)]
    for place, array in enumerate(arrays):
        if not array.is_whole():
            raise EmulationError(f"{function.name} wrote just outside of its array {place}")
    return [array.array.copy() for array in arrays]


def run_cuda(
    func: Any,
    *inputs: Any,
    outputs: Sequence[tuple[tuple[int, ...], str]],
    arch: str = "90a",
) -> list[Array]:
    """Compile one PrimFunc and call it; see `run`."""
    return run(build({"kernel": func}, arch)["kernel"], inputs, outputs)


def _bits(value: Any, dtype: str) -> int:
    """Return a kernel's argument as the 64 bits that hold it, the lowest first."""
    if dtype == "handle":
        return int(value.value or 0) if isinstance(value, ctypes.c_void_p) else int(value)
    if dtype.startswith("float"):
        code = {"float64": "<d", "float32": "<f", "float16": "<e"}[dtype]
        return int.from_bytes(struct.pack(code, value), "little")
    return int(value) & (1 << 64) - 1
