"""Run GPU kernels of TensorIR on a CPU, as the CUDA C++ that TVM prints for them.

    from tests.support.cuda_emulator.runner import build, run, run_cuda

    (y,) = run_cuda(func, x, w, outputs=[((8, 64), "float32")])    # one PrimFunc, once
    built = build({"f": func, "g": other}, arch="90a")             # several, compiled together
    y, z = run(built["f"], [x, w], [((8, 64), "float32"), ((8, 2), "uint32")])

`run` is that of tests/schedules/gpu/vulkan_runner.py, so that both can run one table. Inputs are
copied, so a kernel that updates an argument in place is `run_in_place`, or is called with
`DeviceArray`s, whose `array` is what it left. Kernels are lowered by our pipeline, compiled by the
host's C++ compiler (CXX, c++ or g++) against include/, and run thread by thread: workgroup.h says
how. What is an error (EmulationError):

- an operation of a warp or a workgroup that not all of its threads reach, or in different order
- a thread that waits for ever
- reads and writes outside of an array; vectors at addresses that are no multiple of their size
- a private array that is read beyond its end
- more shared memory or a larger grid than the chip has

Shared memory starts as NaN, private memory as garbage, and `cp.async` copies when it is waited for,
so what nobody wrote or waited for shows in results. `run(..., backward=True)` runs the threads in
the opposite order: results that differ are a race.

Operations of ours run as they are written: the C++ of compile/cuda/operations_*.py, its assembly
turned into calls (assembly.py). An operation of known instructions needs nothing here. An
instruction that is new gets a function in include/ptx_FAMILY.h, named like it: `mma.sync.x.y` is
`ptx::mma_sync_x_y`; `together` (workgroup.h) is the way to write one that concerns a whole warp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ferrylm.compile.cuda.architectures import parse_architecture
from tests.support.cuda_emulator.compiler import load
from tests.support.cuda_emulator.device_arrays import DeviceArray
from tests.support.cuda_emulator.kernels import Kernels
from tests.support.cuda_emulator.launches import EmulationError, Launch
from tests.support.cuda_emulator.lowering import Lowered, for_host, kernel_names, lower

Array = np.ndarray
_GARBAGE = 0x5A


class Program:
    """Functions that are lowered and compiled together."""

    def __init__(self, lowered: Lowered, arch: str) -> None:
        self.lowered, self.source = lowered, lowered.source
        self._kernels = Kernels(lowered.kernels, lowered.source, arch)

    def __getitem__(self, name: str) -> Function:
        """Return a function by its name."""
        return Function(self, name)

    def call(self, name: str, arguments: Sequence[Any], backward: bool) -> None:
        """Let TVM's host function launch its kernels. Raises EmulationError."""
        self._kernels.register(backward)
        try:
            self.lowered.host[name](*arguments)
        except Exception as error:
            if self._kernels.failure is None:
                raise
            raise self._kernels.failure from error


class Function:
    """One of a program's functions."""

    def __init__(self, program: Program, name: str) -> None:
        self.program, self.name = program, name

    def __call__(self, *arguments: Any, backward: bool = False) -> None:
        """Call it with numbers and DeviceArrays. Raises EmulationError."""
        held = [value for value in arguments if isinstance(value, DeviceArray)]
        tensors = [v.tensor if isinstance(v, DeviceArray) else v for v in arguments]
        self.program.call(self.name, tensors, backward)
        _check_whole(self.name, held)


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
    function(*held, backward=backward)
    return [value.array.copy() for value in held if isinstance(value, DeviceArray)]


def _check_whole(name: str, arrays: Sequence[DeviceArray]) -> None:
    for place, array in enumerate(arrays):
        if not array.is_whole():
            raise EmulationError(f"{name} wrote just outside of its array {place}")


def run_cuda(
    func: Any,
    *inputs: Any,
    outputs: Sequence[tuple[tuple[int, ...], str]],
    arch: str = "90a",
) -> list[Array]:
    """Compile one PrimFunc and call it; see `run`."""
    return run(build({"kernel": func}, arch)["kernel"], inputs, outputs)


def run_source(
    source: str,
    arrays: Sequence[Array],
    shape: Launch,
    *,
    arch: str = "90a",
    backward: bool = False,
) -> list[Array]:
    """Run CUDA C++ with one kernel, written as TVM prints it, on copies of arrays; return them.

    Raises EmulationError.
    """
    (kernel,) = kernel_names(source)
    held = [DeviceArray(array) for array in arrays]
    library = load(for_host(source, [kernel]), parse_architecture(arch))
    shape.run(library, kernel, [array.address for array in held], backward=backward)
    _check_whole(kernel, held)
    return [array.array.copy() for array in held]
