"""Copies between host and an NVIDIA GPU that nobody waits for, in the order of one stream."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ferrylm.runtime.backends.base import Array, Tensor
from ferrylm.runtime.backends.gpu import DeviceMemory, DeviceMirror
from ferrylm.runtime.cuda_graph import DEVICE_TO_DEVICE, HOST_TO_DEVICE, CudaRuntime

_WORD_BYTES = 4


class CudaCopies(DeviceMemory):
    """Device memory of a GPU with a stream of its own.

    What is copied from ordinary host memory has been taken when a call returns: the driver keeps
    it for the stream (CUDA Runtime API, API synchronization behavior).
    """

    runtime: CudaRuntime
    stream: int

    def __init__(self, device: Any) -> None:
        super().__init__(device)
        self._outboxes: list[CudaOutbox] = []

    def mirror(self, count: int) -> CudaMirror:
        """Return int32 numbers on host and device."""
        return CudaMirror(self, count)

    def write(self, tensor: Tensor, start: int, array: Array) -> None:
        """Set numbers of a tensor from `start` on."""
        source = np.ascontiguousarray(array)
        target = tensor.data_ptr() + start * source.itemsize
        self.runtime.copy(target, source.ctypes.data, source.nbytes, HOST_TO_DEVICE, self.stream)

    def copy(self, source: Tensor, first: int, target: Tensor, start: int, count: int) -> None:
        """Copy numbers of 4 bytes within the device."""
        self.runtime.copy(
            target.data_ptr() + _WORD_BYTES * start,
            source.data_ptr() + _WORD_BYTES * first,
            _WORD_BYTES * count,
            DEVICE_TO_DEVICE,
            self.stream,
        )

    def outbox(self, entries: int, size: int) -> CudaOutbox:
        """Return numbers that the host reads while the stream goes on."""
        self._outboxes.append(CudaOutbox(self, entries, size))
        return self._outboxes[-1]

    def close_outboxes(self) -> None:
        """Let go of all of them; the device must have nothing left to do."""
        while self._outboxes:
            self._outboxes.pop().close()


class CudaMirror(DeviceMirror):
    """Numbers on the host and their copy on the device."""

    def __init__(self, memory: CudaCopies, count: int) -> None:
        super().__init__(memory, count)
        self._copies = memory

    def push(self) -> None:
        """Copy the host's numbers in the order of the stream."""
        count = math.prod(int(size) for size in self._pair[1].shape)
        self._copies.write(self._device, 0, self._host[:count])


class CudaOutbox:
    """Entries that a second stream copies to pinned memory while the first goes on."""

    def __init__(self, memory: CudaCopies, entries: int, size: int) -> None:
        """Take memory, a stream and events. Raises MemoryLimitError."""
        self.tensor = memory.empty((entries, size), "int32")
        self._memory, self._entry_bytes = memory, _WORD_BYTES * size
        runtime = memory.runtime
        self._stream = runtime.new_stream(alone=True)
        self._pinned = runtime.pinned_bytes(entries * self._entry_bytes)
        self._written, self._copied = (
            [runtime.new_event() for _ in range(entries)] for _ in range(2)
        )

    def post(self, entry: int) -> None:
        """Have an entry copied once the work so far is done."""
        runtime, source = self._memory.runtime, self.tensor.data_ptr() + entry * self._entry_bytes
        runtime.record_event(self._written[entry], self._memory.stream)
        runtime.wait_before(self._stream, self._written[entry])
        runtime.copy_to_host(self._view(entry), source, self._entry_bytes, self._stream)
        runtime.record_event(self._copied[entry], self._stream)

    def is_there(self, entry: int) -> bool:
        """Say whether the device has written an entry."""
        return self._memory.runtime.is_over(self._written[entry])

    def take(self, entry: int) -> Array:
        """Wait for an entry; return a copy."""
        self._memory.runtime.wait_for(self._copied[entry])
        found: Array = np.frombuffer(self._view(entry), np.int32).copy()
        return found

    def close(self) -> None:
        """Let go of memory, stream and events."""
        runtime = self._memory.runtime
        runtime.synchronize(self._stream)
        runtime.free_pinned(self._pinned)
        for event in (*self._written, *self._copied):
            runtime.free_event(event)
        runtime.free_stream(self._stream)

    def _view(self, entry: int) -> Any:
        address = ctypes.addressof(self._pinned) + entry * self._entry_bytes
        return (ctypes.c_uint8 * self._entry_bytes).from_address(address)
