"""The measure of a GPU's bandwidth: a kernel of the library that reads memory and adds it up.

Libraries for Vulkan and for AMD GPUs have it (schedules/gpu/memory_read.py); older ones do not.
NVIDIA's driver takes one as text, whatever the library (cuda_read.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from ferrylm.runtime.backends.base import Backend

FUNCTION = "read_memory_once"  # of the library: (memory, sums)
THREADS, LOADS, LOAD_WORDS = 256, 4, 4  # of a workgroup; of a thread in a turn; 16 bytes each

# Below the 1 GiB that every Vulkan device can allocate at once (maxMemoryAllocationSize).
TENSOR_BYTES = 960 << 20
# Tensors read one after another: of a single one NVIDIA's caches kept a part from round to round.
_MOST_TENSORS = 4
_WORKGROUPS = (1024, 2048, 8192)  # the first fill a large GPU; more even out what ends early
_ROUNDS, _ROUND_SECONDS = 3, 0.05
_MOST_TURNS = 1000


def memory_shape(turns: Any, workgroups: Any) -> tuple[Any, ...]:
    """Return the shape of the uint32 tensor that so many workgroups read in so many turns."""
    return (turns, workgroups, LOADS, THREADS, LOAD_WORDS)


def read_gb_s(
    backend: Backend, function: Any, size_bytes: int, clock: Callable[[], float]
) -> float:
    """Return the rate, in 10^9 bytes per second, of reading at most so many bytes of memory.

    They are several tensors, read in turns for some time. The median of several rounds, for the
    number of workgroups with which that is highest. Raises DeviceError, MemoryLimitError.
    """
    with backend.calling():
        return max(
            _Reading(backend, function, size_bytes, workgroups).gb_s(clock)
            for workgroups in _WORKGROUPS
        )


class _Reading:
    """Tensors, and the sums that so many workgroups make of each."""

    def __init__(self, backend: Backend, function: Any, size_bytes: int, workgroups: int) -> None:
        self._backend, self._function = backend, function
        tensors = max(1, min(_MOST_TENSORS, size_bytes // TENSOR_BYTES))
        turn_bytes = workgroups * LOADS * THREADS * LOAD_WORDS * 4
        turns = max(1, min(TENSOR_BYTES, size_bytes // tensors) // turn_bytes)
        self._bytes = tensors * turns * turn_bytes
        arena, shape = backend.arena(self._bytes), memory_shape(turns, workgroups)
        # Zeroed, because pages that were never written may all be one. Sums of their own, so that
        # a launch need not wait for the one before it.
        self._tensors = [
            (
                arena.take(shape, "uint32", zeroed=True),
                arena.take((workgroups, THREADS), "uint32"),
            )
            for _ in range(tensors)
        ]

    def gb_s(self, clock: Callable[[], float]) -> float:
        """Return the rate."""
        self._seconds(1, clock)
        once = max(self._seconds(1, clock), 1e-9)
        turns = min(_MOST_TURNS, int(_ROUND_SECONDS / once) + 1)
        found = statistics.median(self._seconds(turns, clock) for _ in range(_ROUNDS))
        return turns * self._bytes / max(found, 1e-9) / 1e9

    def _seconds(self, turns: int, clock: Callable[[], float]) -> float:
        self._backend.synchronize()
        start = clock()
        for _ in range(turns):
            for memory, sums in self._tensors:
                self._function(memory, sums)
        self._backend.synchronize()
        return clock() - start
