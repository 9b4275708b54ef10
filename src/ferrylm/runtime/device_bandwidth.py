"""Measure how fast a device moves its own memory: the limit of batch-1 decoding."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ferrylm.errors import MemoryLimitError
from ferrylm.runtime.backends.base import Backend, Tensor
from ferrylm.runtime.bandwidth import measure_read_bandwidth

_MIB = 1 << 20
_COPY_BYTES = 256 * _MIB  # more than any device's cache
_ROUNDS, _ROUND_SECONDS = 5, 0.05
_MOST_COPIES = 1000

COPY = "copy on the device, reads and writes counted"
READ = "read by the processor"


@dataclass(frozen=True)
class DeviceBandwidth:
    """The best of several rounds, and the tensors of the copy where there was one."""

    gb_s: float
    method: str
    copied: tuple[Tensor, Tensor] | None = None

    @property
    def copy_seconds(self) -> float:
        """Return how long one copy takes."""
        return 2 * _COPY_BYTES / (self.gb_s * 1e9)


def measure_device_bandwidth(
    backend: Backend, threads: int, *, clock: Callable[[], float] = time.perf_counter
) -> DeviceBandwidth:
    """Read main memory with so many threads, or copy 256 MiB within a GPU's memory.

    A GPU copies somewhat slower than it reads, so a share of this rate may exceed 100 %.
    Raises MemoryLimitError where the copy does not fit.
    """
    if backend.kind == "cpu":
        return DeviceBandwidth(measure_read_bandwidth(threads).gb_s, READ)
    report = backend.report()
    if report is not None and report.free_bytes < 3 * _COPY_BYTES:
        raise MemoryLimitError(
            f"{report.free_bytes // _MIB} MiB of free memory on {backend.name}",
            wanted=f"{3 * _COPY_BYTES // _MIB} MiB to measure its bandwidth",
            fix="close other programs or give --bandwidth",
        )
    with backend.calling():
        source = backend.upload(np.ones(_COPY_BYTES, np.uint8))
        target = backend.upload(np.zeros(_COPY_BYTES, np.uint8))

        def seconds(copies: int) -> float:
            start = clock()
            for _ in range(copies):
                source.copyto(target)
            backend.synchronize()
            return (clock() - start) / copies

        seconds(1)
        copies = min(_MOST_COPIES, int(_ROUND_SECONDS / max(seconds(1), 1e-9)) + 1)
        best = min(seconds(copies) for _ in range(_ROUNDS))
    return DeviceBandwidth(2 * _COPY_BYTES / max(best, 1e-9) / 1e9, COPY, (source, target))
