"""What all GPUs have in common: tensors of a TVM device, filled and read by copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ferrylm.runtime.backends.base import Array, Outbox, ReadBytes, Tensor
from ferrylm.runtime.device_tensors import aligned, aligned_zeros, array_bytes, as_tensor
from ferrylm.runtime.outbox import WaitingOutbox

# Uploads go in pieces of this size; larger ones are no faster and take more memory.
PIECE_BYTES = 16 << 20
_ZEROS_BYTES = 4 << 20


class DeviceMemory:
    """Allocates tensors on a TVM device and copies them; the base of every GPU's backend."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self._staging: Array | None = None
        self._zeros: Tensor = None
        self._rows: Array = aligned_zeros((0,), "uint8")

    def arena(self, size_bytes: int) -> DeviceArena:
        """Return memory for tensors; the driver's allocator needs no common stretch."""
        del size_bytes
        return DeviceArena(self)

    def mirror(self, count: int) -> DeviceMirror:
        """Return int32 numbers on host and device."""
        return DeviceMirror(self, count)

    def empty(self, shape: Sequence[int], dtype: str) -> Tensor:
        """Return a tensor that holds anything."""
        from tvm.runtime import empty

        return empty(tuple(shape), dtype, self.device)

    def fill(self, tensor: Tensor, size_bytes: int, read: ReadBytes) -> None:
        """Fill a tensor piece by piece."""
        if self._staging is None:
            self._staging = aligned_zeros((PIECE_BYTES,), "uint8")
        for start in range(0, size_bytes, PIECE_BYTES):
            piece = self._staging[: min(PIECE_BYTES, size_bytes - start)]
            read(start, memoryview(piece.data))
            self._copy(as_tensor(piece), byte_view(tensor, start, len(piece)))
            self.synchronize()  # before the next piece takes the place of this one

    def zero(self, tensor: Tensor, start: int, size_bytes: int) -> None:
        """Set bytes to 0 by copies from zeros on the device, in the order of its stream."""
        if self._zeros is None:
            self._zeros = self.upload(np.zeros(_ZEROS_BYTES, np.uint8))
        for done in range(0, size_bytes, _ZEROS_BYTES):
            count = min(_ZEROS_BYTES, size_bytes - done)
            source = byte_view(self._zeros, 0, count)
            self._copy(source, byte_view(tensor, start + done, count))

    def upload(self, array: Array) -> Tensor:
        """Return a new tensor of this content."""
        tensor = self.empty(array.shape, str(array.dtype))
        self.overwrite(tensor, array)
        return tensor

    def overwrite(self, tensor: Tensor, array: Array) -> None:
        """Set a whole tensor."""
        self._copy(as_tensor(aligned(array)), tensor)
        self.synchronize()

    def download(self, tensor: Tensor) -> Array:
        """Return a copy of the content."""
        array = aligned_zeros(tuple(int(size) for size in tensor.shape), str(tensor.dtype))
        self._copy(tensor, as_tensor(array))
        self.synchronize()
        return array

    def read_rows(self, tensor: Tensor, rows: int) -> Array:
        """Return the first rows, in memory that the next call uses again."""
        shape = (rows, *(int(size) for size in tensor.shape[1:]))
        dtype = str(tensor.dtype)
        size_bytes = array_bytes(shape, dtype)
        if self._rows.nbytes < size_bytes:
            self._rows = aligned_zeros((size_bytes,), "uint8")
        content = self._rows[:size_bytes]
        self._copy(byte_view(tensor, 0, size_bytes), as_tensor(content))
        self.synchronize()
        array: Array = content.view(dtype).reshape(shape)
        return array

    def write(self, tensor: Tensor, start: int, array: Array) -> None:
        """Set numbers from `start` on; the driver has taken them when this returns."""
        part = tensor._create_view(array.shape, str(array.dtype), start * array.itemsize)
        self._copy(as_tensor(aligned(array)), part)

    def copy(self, source: Tensor, first: int, target: Tensor, start: int, count: int) -> None:
        """Copy numbers of 4 bytes within the device."""
        self._copy(byte_view(source, 4 * first, 4 * count), byte_view(target, 4 * start, 4 * count))

    def outbox(self, entries: int, size: int) -> Outbox:
        """Return numbers that the host reads."""
        return WaitingOutbox(self, entries, size)

    def synchronize(self) -> None:
        """Wait for all copies and kernels."""
        self.device.sync()

    def forget(self) -> None:
        """Let go of what this object itself has allocated."""
        self._zeros, self._staging = None, None

    def _copy(self, source: Tensor, target: Tensor) -> None:
        source.copyto(target)


class DeviceArena:
    """Gives each tensor memory of its own."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory

    def take(self, shape: Sequence[int], dtype: str, *, zeroed: bool = False) -> Tensor:
        """Return a tensor."""
        tensor = self._memory.empty(shape, dtype)
        if zeroed:
            self._memory.zero(tensor, 0, array_bytes(shape, dtype))
        return tensor


class DeviceMirror:
    """Numbers on the host and their copy on the device."""

    def __init__(self, memory: DeviceMemory, count: int) -> None:
        self._host = aligned_zeros((count,), "int32")
        self._device = memory.empty((count,), "int32")
        self._pair: tuple[Tensor, Tensor] = (as_tensor(self._host), self._device)

    def shaped(self, shape: Sequence[int]) -> tuple[Array, Tensor]:
        """Return the host's array and the device's tensor."""
        array: Array = self._host[: math.prod(shape)].reshape(shape)
        self._pair = (as_tensor(array), self._device._create_view(tuple(shape)))
        return array, self._pair[1]

    def push(self) -> None:
        """Copy the host's numbers; the driver has taken them when this returns."""
        source, target = self._pair
        source.copyto(target)


def byte_view(tensor: Tensor, start: int, size_bytes: int) -> Tensor:
    """Return bytes of a tensor as a tensor of uint8 that shares its memory.

    For copies only: kernels take no tensor with a byte offset.
    """
    return tensor._create_view((size_bytes,), "uint8", start)
