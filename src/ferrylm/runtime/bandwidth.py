"""Measure how fast this machine's cores read main memory: the limit of batch-1 decoding."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]

from ferrylm.errors import MemoryLimitError, UsageError

_MIB = 1 << 20
_SMALLEST_BUFFER_BYTES = 256 * _MIB
_CACHE_FACTOR = 4  # a buffer this many times the last-level cache cannot be served from it
_ALIGNMENT_BYTES = 4096

Bytes = npt.NDArray[np.uint8]
Scanner = Callable[[Bytes], object]


@dataclass(frozen=True)
class ReadBandwidth:
    """The best read of a buffer that no cache holds: a lower bound of what the memory can do."""

    threads: int
    bytes_per_s: float
    buffer_bytes: int
    method: str  # the scanner that was fastest

    @property
    def gb_s(self) -> float:
        """Return the bandwidth in 10^9 bytes per second."""
        return self.bytes_per_s / 1e9


def measure_read_bandwidth(
    threads: int, *, repetitions: int = 12, buffer_bytes: int | None = None
) -> ReadBandwidth:
    """Read a buffer with `threads` threads, `repetitions` times per scanner; return the best.

    The scanners are libc's memchr for a byte that is not there and numpy's maximum; both read
    every byte once, write nothing and run outside Python's lock. What they reach is a lower
    bound: a machine may be faster, never slower. By default the buffer is four times the
    last-level cache, at least 256 MiB.

    Raises UsageError for fewer than one thread, MemoryLimitError where the buffer does not fit
    in half of the free memory.
    """
    if threads < 1 or repetitions < 1:
        raise UsageError(
            f"{threads} threads and {repetitions} repetitions",
            wanted="at least one of each",
            fix="ask for one or more",
        )
    size_bytes = buffer_bytes or max(
        _SMALLEST_BUFFER_BYTES, _CACHE_FACTOR * last_level_cache_bytes()
    )
    free_bytes = psutil.virtual_memory().available
    if size_bytes > free_bytes // 2:
        raise MemoryLimitError(
            f"{free_bytes // _MIB} MiB of free memory",
            wanted=f"twice the {size_bytes // _MIB} MiB that the measurement reads",
            fix="close other programs or leave the measurement out",
        )
    # Written with ones, not np.zeros: untouched pages all map to one page that the cache holds.
    buffer = np.full(size_bytes, 1, dtype=np.uint8)
    parts = _aligned_parts(buffer, threads)
    best_s, best_method = float("inf"), ""
    with ThreadPoolExecutor(threads) as pool:
        for method, scan in _scanners().items():
            for _ in range(repetitions):
                seconds = _time_scan(pool, parts, scan)
                if seconds < best_s:
                    best_s, best_method = seconds, method
    read_bytes = sum(part.nbytes for part in parts)
    return ReadBandwidth(threads, read_bytes / best_s, read_bytes, best_method)


def last_level_cache_bytes() -> int:
    """Return the size of the largest cache of the first core, 0 where Linux does not say."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            text = path.read_text().strip()
            unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
            sizes.append(int(text.rstrip("KMG")) * unit)
        except (OSError, ValueError):
            continue
    return max(sizes)


def _aligned_parts(buffer: Bytes, threads: int) -> list[Bytes]:
    step = max(buffer.nbytes // threads // _ALIGNMENT_BYTES, 1) * _ALIGNMENT_BYTES
    parts = [buffer[start : start + step] for start in range(0, step * threads, step)]
    return [part for part in parts if part.nbytes == step]


def _scanners() -> dict[str, Scanner]:
    scanners: dict[str, Scanner] = {"numpy maximum": lambda part: np.max(part.view(np.int64))}
    try:
        memchr = ctypes.CDLL(None).memchr
    except (AttributeError, OSError):
        return scanners
    memchr.restype = ctypes.c_void_p
    memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

    def scan(part: Bytes) -> Any:
        return memchr(part.ctypes.data, 0xFF, part.nbytes)

    return {"libc memchr": scan, **scanners}


def _time_scan(pool: ThreadPoolExecutor, parts: list[Bytes], scan: Scanner) -> float:
    """Return the seconds from the first thread's start to the last one's end.

    Each thread takes its own times: the caller may be woken late and would see too short a span.
    """
    barrier = threading.Barrier(len(parts))

    def work(part: Bytes) -> tuple[float, float]:
        barrier.wait()
        start = time.perf_counter()
        scan(part)
        return start, time.perf_counter()

    spans = [future.result() for future in [pool.submit(work, part) for part in parts]]
    return max(end for _, end in spans) - min(start for start, _ in spans)
