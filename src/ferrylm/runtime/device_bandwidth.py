"""Measure how fast a device reads its memory, or moves it: the limit of batch-1 decoding."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ferrylm.errors import MemoryLimitError
from ferrylm.runtime.backends.base import Backend
from ferrylm.runtime.bandwidth import measure_read_bandwidth
from ferrylm.runtime.devices import SOFTWARE
from ferrylm.runtime.memory_read import read_gb_s

if TYPE_CHECKING:
    from ferrylm.runtime.cuda_backend import CudaBackend

_MIB = 1 << 20
_COPY_BYTES = 256 * _MIB  # more than any device's cache
_READ_BYTES, _LEAST_READ_BYTES = 4096 * _MIB, 512 * _MIB
_LEAST_TENSOR_BYTES = 256 * _MIB
_ROUNDS, _ROUND_SECONDS = 5, 0.05
_MOST_COPIES = 1000

COPY = "copy on the device, reads and writes counted"
READ = "read by the processor"
KERNEL_READ = "read by a kernel"


@dataclass(frozen=True)
class DeviceBandwidth:
    """The median of several rounds; on a processor the best of them."""

    gb_s: float
    method: str


def measure_device_bandwidth(
    backend: Backend,
    threads: int,
    reader: Any = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> DeviceBandwidth:
    """Read main memory with so many threads, or a GPU's memory.

    Through CUDA a kernel of ours reads 4 GiB, or half of what is free. On other GPUs `reader`,
    which the library brings along (memory_read.py), reads as much. Without it 256 MiB are
    copied, which is slower than reading and on some drivers much slower (NVIDIA's Vulkan), so that
    a share of this rate may exceed 100 %. So they are on a device in software, whose lanes load
    one after another. Raises MemoryLimitError where that does not fit.
    """
    if backend.kind == "cpu":
        return DeviceBandwidth(measure_read_bandwidth(threads).gb_s, READ)
    if backend.kind == "cuda":
        return _read(cast("CudaBackend", backend))
    report = backend.report()
    if reader is not None and report is not None and report.device_class != SOFTWARE:
        _check(backend, report.free_bytes, 2 * _LEAST_TENSOR_BYTES)
        size_bytes = min(_READ_BYTES, report.free_bytes // 2)
        return DeviceBandwidth(read_gb_s(backend, reader, size_bytes, clock), KERNEL_READ)
    if report is not None:
        _check(backend, report.free_bytes, 3 * _COPY_BYTES)
    with backend.calling():
        seconds = _copy_seconds(backend, clock)
    return DeviceBandwidth(2 * _COPY_BYTES / max(seconds, 1e-9) / 1e9, COPY)


def _read(backend: CudaBackend) -> DeviceBandwidth:
    from ferrylm.runtime import cuda_read

    free_bytes = backend.free_bytes()
    _check(backend, free_bytes, 2 * _LEAST_READ_BYTES)
    size_bytes = min(_READ_BYTES, free_bytes // 2)
    return DeviceBandwidth(cuda_read.read_gb_s(backend, size_bytes), KERNEL_READ)


def _copy_seconds(backend: Backend, clock: Callable[[], float]) -> float:
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
    return statistics.median(seconds(copies) for _ in range(_ROUNDS))


def _check(backend: Backend, free_bytes: int, needed_bytes: int) -> None:
    if free_bytes < needed_bytes:
        raise MemoryLimitError(
            f"{free_bytes // _MIB} MiB of free memory on {backend.name}",
            wanted=f"{needed_bytes // _MIB} MiB to measure its bandwidth",
            fix="close other programs, or leave the measurement out",
        )
