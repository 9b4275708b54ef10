"""The measure of a GPU's bandwidth: a kernel of the library that reads memory and adds it up.

Libraries for Vulkan and for AMD GPUs have it (schedules/gpu/memory_read.py); older ones
do not. NVIDIA's driver takes one as text, whatever the library (cuda_read.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from ferrylm.runtime.backends.base import Backend

FUNCTION = "read_memory"  # of the library: (memory, passes, sums)
THREADS, LOADS, LOAD_WORDS = 256, 4, 4  # of a workgroup; of a thread in a turn; 16 bytes each

_WORKGROUPS = (1024, 2048, 8192)  # the first fill a large GPU; more even out what ends early
_ROUNDS, _ROUND_SECONDS = 3, 0.05
_MOST_PASSES = 10_000


def memory_shape(turns: Any, workgroups: Any) -> tuple[Any, ...]:
    """Return the shape of the uint32 tensor that so many workgroups read in so many turns."""
    return (turns, workgroups, LOADS, THREADS, LOAD_WORDS)


def read_gb_s(
    backend: Backend, function: Any, size_bytes: int, clock: Callable[[], float]
) -> float:
    """Return the rate, in 10^9 bytes per second, of reading about so many bytes of memory.

    A launch reads them often enough to last for some time. The median of several rounds, for the
    number of workgroups with which that is highest. Raises DeviceError, MemoryLimitError.
    """
    with backend.calling():
        arena = backend.arena(size_bytes)
        return max(
            _Reading(backend, function, arena, size_bytes, workgroups).gb_s(clock)
            for workgroups in _WORKGROUPS
        )


class _Reading:
    """A tensor, and as many workgroups that read it."""

    def __init__(
        self, backend: Backend, function: Any, arena: Any, size_bytes: int, workgroups: int
    ) -> None:
        self._backend, self._function = backend, function
        self._turn_bytes = workgroups * LOADS * THREADS * LOAD_WORDS * 4
        self._turns = max(1, size_bytes // self._turn_bytes)
        # Zeroed, because pages that were never written may all be one.
        shape = memory_shape(self._turns, workgroups)
        self._memory = arena.take(shape, "uint32", zeroed=True)
        self._sums = arena.take((workgroups, THREADS), "uint32")

    def gb_s(self, clock: Callable[[], float]) -> float:
        """Return the rate."""
        self._seconds(1, clock)
        once = max(self._seconds(1, clock), 1e-9)
        passes = min(_MOST_PASSES, int(_ROUND_SECONDS / once) + 1)
        found = statistics.median(self._seconds(passes, clock) for _ in range(_ROUNDS))
        return passes * self._turns * self._turn_bytes / max(found, 1e-9) / 1e9

    def _seconds(self, passes: int, clock: Callable[[], float]) -> float:
        self._backend.synchronize()
        start = clock()
        self._function(self._memory, passes, self._sums)
        self._backend.synchronize()
        return clock() - start
