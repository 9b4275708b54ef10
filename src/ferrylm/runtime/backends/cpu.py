"""The processor as a device: its memory is the host's, and nothing is copied."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ferrylm.runtime.backends.base import Array, ReadBytes, Step, Tensor
from ferrylm.runtime.backends.steps import DirectStep
from ferrylm.runtime.cpu_features import host_cpu
from ferrylm.runtime.device_tensors import Arena, aligned, aligned_zeros, as_array, as_tensor
from ferrylm.runtime.devices import GpuDevice
from ferrylm.runtime.threads import use_threads
from ferrylm.runtime.tvm_runtime import prefer_runtime_only


class CpuBackend:
    """The processor with a number of threads."""

    kind = "cpu"

    def __init__(self, threads: int) -> None:
        prefer_runtime_only()
        from tvm.runtime import cpu

        self.name = self.description = host_cpu().model_name
        self.device = cpu()
        self._threads = threads

    def report(self) -> GpuDevice | None:
        """Return nothing: the processor is described by `host_cpu`."""
        return None

    def used_bytes(self) -> int:
        """Return 0: the memory is the process's own."""
        return 0

    def load(self, module: Any) -> Any:
        """Return a virtual machine."""
        from tvm.runtime.vm import VirtualMachine

        return VirtualMachine(module, self.device)

    def arena(self, size_bytes: int) -> _CpuArena:
        """Return zeroed memory in huge pages."""
        return _CpuArena(size_bytes)

    def mirror(self, count: int) -> _CpuMirror:
        """Return numbers that are host's and device's in one."""
        return _CpuMirror(count)

    def fill(self, tensor: Tensor, size_bytes: int, read: ReadBytes) -> None:
        """Read everything into the tensor's own memory."""
        read(0, memoryview(_bytes(tensor)[:size_bytes].data))

    def zero(self, tensor: Tensor, start: int, size_bytes: int) -> None:
        """Set bytes to 0."""
        _bytes(tensor)[start : start + size_bytes] = 0

    def upload(self, array: Array) -> Tensor:
        """Return a tensor of the array's memory, or of an aligned copy."""
        return as_tensor(aligned(array))

    def download(self, tensor: Tensor) -> Array:
        """Return the tensor's memory."""
        return as_array(tensor)

    def overwrite(self, tensor: Tensor, array: Array) -> None:
        """Set a whole tensor."""
        as_array(tensor)[...] = array

    def read_rows(self, tensor: Tensor, rows: int) -> Array:
        """Return the first rows."""
        return as_array(tensor)[:rows]

    def repeated(self, call: Callable[[], Tensor]) -> Step:
        """Return a step that makes the call: there is nothing to be gained by recording."""
        return DirectStep(call)

    def synchronize(self) -> None:
        """Do nothing: a call returns when it is done."""

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Give the calling thread its workers."""
        use_threads(self._threads)
        yield

    def profile(self, call: Callable[[], object]) -> list[dict[str, object]]:
        """Return nothing: perf and its like know more."""
        call()
        return []

    def close(self) -> None:
        """Do nothing: memory is freed with the tensors."""


class _CpuArena:
    def __init__(self, size_bytes: int) -> None:
        self._arena = Arena(size_bytes)

    def take(self, shape: Sequence[int], dtype: str, *, zeroed: bool = False) -> Tensor:
        """Return the next part; it is zero because nobody had it before."""
        return as_tensor(self._arena.take(shape, dtype))


class _CpuMirror:
    def __init__(self, count: int) -> None:
        self._numbers = aligned_zeros((count,), "int32")

    def shaped(self, shape: Sequence[int]) -> tuple[Array, Tensor]:
        """Return an array and a tensor of one memory."""
        array: Array = self._numbers[: math.prod(shape)].reshape(shape)
        return array, as_tensor(array)

    def push(self) -> None:
        """Do nothing."""


def _bytes(tensor: Tensor) -> Array:
    array: Array = as_array(tensor).reshape(-1).view(np.uint8)
    return array
