"""What the engine asks of a device.

Tensors are TVM tensors on the device; what is said of order holds for the device's one stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.devices import GpuDevice

Tensor = Any
Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

# Writes bytes [offset, offset + len(buffer)) of some content into a buffer.
ReadBytes = Callable[[int, memoryview], None]


class Arena(Protocol):
    """Memory for many tensors."""

    def take(self, shape: Sequence[int], dtype: str, *, zeroed: bool = False) -> Tensor:
        """Return a tensor of its own; without `zeroed` it may hold anything."""


class Mirror(Protocol):
    """Some int32 numbers on the host and on the device; `push` makes the latter equal."""

    def shaped(self, shape: Sequence[int]) -> tuple[Array, Tensor]:
        """Return the host's array and the device's tensor of the first numbers, in this shape.

        Their addresses are the same whatever the shape. `push` is about the latest pair.
        """

    def push(self) -> None:
        """Copy the host's numbers to the device; they may be changed again when it returns."""


class Step(Protocol):
    """A call that is made again and again with the same tensors."""

    def run(self) -> Tensor:
        """Do it once; the result is valid until the next run."""

    def prepare(self) -> None:
        """Record it now, if it is to be recorded, by making the call as often as that takes."""


class Backend(Protocol):
    """One device."""

    kind: str  # cpu, vulkan, cuda, rocm
    name: str  # of the device, for people
    description: str  # name and driver
    device: Any  # tvm.runtime.Device

    def report(self) -> GpuDevice | None:
        """Return what the device is and has now; None for the CPU."""

    def used_bytes(self) -> int:
        """Return how much device memory this process holds; 0 where nobody counts it."""

    def load(self, module: Any) -> Any:
        """Return a virtual machine that runs a library's functions on the device."""

    def arena(self, size_bytes: int) -> Arena:
        """Return memory for tensors of so many bytes in all, each rounded up to 64."""

    def mirror(self, count: int) -> Mirror:
        """Return int32 numbers on host and device."""

    def fill(self, tensor: Tensor, size_bytes: int, read: ReadBytes) -> None:
        """Fill a tensor with bytes that `read` gives, in pieces in rising order."""

    def zero(self, tensor: Tensor, start: int, size_bytes: int) -> None:
        """Set bytes of a tensor to 0, in order with the kernels before and after."""

    def upload(self, array: Array) -> Tensor:
        """Return a tensor of this content; on a CPU it shares the array's memory if aligned."""

    def download(self, tensor: Tensor) -> Array:
        """Return the content once all kernels are done; on a CPU it is the memory itself."""

    def overwrite(self, tensor: Tensor, array: Array) -> None:
        """Set a whole tensor."""

    def read_rows(self, tensor: Tensor, rows: int) -> Array:
        """Return the first rows of a tensor, valid until the next call."""

    def repeated(self, call: Callable[[], Tensor]) -> Step:
        """Return a step of a call whose tensors never change; recorded where that pays."""

    def synchronize(self) -> None:
        """Wait until the device has done all it was asked for."""

    def calling(self) -> AbstractContextManager[object]:
        """Enclose what runs kernels: makes the thread fit for it, and errors of the device typed.

        Raises DeviceError, MemoryLimitError.
        """

    def profile(self, call: Callable[[], object]) -> list[dict[str, object]]:
        """Return kernel, milliseconds and grid of each launch of a call, [] where unknown."""

    def close(self) -> None:
        """Let go of everything; tensors must not be used any more."""


class Outbox(Protocol):
    """int32 (entries, size): the device writes them one after the other, round and round."""

    tensor: Tensor  # on the device

    def post(self, entry: int) -> None:
        """Say that all work so far has written this entry; return at once."""

    def is_there(self, entry: int) -> bool:
        """Say whether an entry that was posted is known to be written."""

    def take(self, entry: int) -> Array:
        """Wait for an entry that was posted; return int32 (size,), the caller's own."""


class DrawingBackend(Backend, Protocol):
    """A device that draws tokens itself, steps ahead of the host; nothing here waits for it."""

    def write(self, tensor: Tensor, start: int, array: Array) -> None:
        """Set numbers from `start` on, in order with the kernels before and after."""

    def copy(self, source: Tensor, first: int, target: Tensor, start: int, count: int) -> None:
        """Copy numbers within the device, in order with the kernels before and after."""

    def outbox(self, entries: int, size: int) -> Outbox:
        """Return numbers that the host reads while the device goes on."""
