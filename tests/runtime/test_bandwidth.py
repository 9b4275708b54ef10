"""The measured read bandwidth, which `ferry doctor` and `ferry bench` divide by."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from ferrylm.errors import MemoryLimitError, UsageError
from ferrylm.runtime import bandwidth

MIB = 1 << 20


def test_reads_the_whole_buffer_once_per_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []
    lock = threading.Lock()

    def record(part: bandwidth.Bytes) -> None:
        with lock:
            seen.append((part.ctypes.data, part.nbytes, threading.get_ident()))

    monkeypatch.setattr(bandwidth, "_scanners", lambda: {"recorder": record})
    result = bandwidth.measure_read_bandwidth(3, repetitions=1, buffer_bytes=12 * MIB)
    seen.sort()
    assert [size for _, size, _ in seen] == [4 * MIB] * 3
    assert [b - a for (a, _, _), (b, _, _) in itertools.pairwise(seen)] == [4 * MIB] * 2
    assert len({thread for _, _, thread in seen}) == 3
    assert result.buffer_bytes == 12 * MIB
    assert result.method == "recorder"


@pytest.mark.parametrize("method", ["libc memchr", "numpy maximum"])
def test_a_scanner_reads_to_the_last_byte(method: str) -> None:
    scan = bandwidth._scanners()[method]
    part = np.full(MIB, 1, dtype=np.uint8)
    without = scan(part)
    part[-1] = 0xFF if method == "libc memchr" else 0x7F
    assert scan(part) != without


def test_the_rate_is_the_bytes_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.5, 0.25, 1.0])
    monkeypatch.setattr(bandwidth, "_scanners", lambda: {"fake": lambda part: None})
    monkeypatch.setattr(bandwidth, "_time_scan", lambda pool, parts, scan: next(times))
    result = bandwidth.measure_read_bandwidth(2, repetitions=3, buffer_bytes=8 * MIB)
    assert result.bytes_per_s == 8 * MIB / 0.25
    assert result.gb_s == pytest.approx(8 * MIB / 0.25 / 1e9)


def test_the_span_covers_the_slowest_thread() -> None:
    release = threading.Event()
    parts = [np.full(4096, index, dtype=np.uint8) for index in range(2)]

    def scan(part: bandwidth.Bytes) -> None:
        if part[0] == 0:
            assert release.wait(10)
        else:
            threading.Timer(0.05, release.set).start()

    with bandwidth.ThreadPoolExecutor(2) as pool:
        assert bandwidth._time_scan(pool, parts, scan) >= 0.05


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_is_a_usage_error(threads: int) -> None:
    with pytest.raises(UsageError, match="at least one"):
        bandwidth.measure_read_bandwidth(threads)


def test_a_buffer_that_does_not_fit_is_refused_before_it_is_made() -> None:
    with pytest.raises(MemoryLimitError, match="free memory"):
        bandwidth.measure_read_bandwidth(1, buffer_bytes=1 << 60)
