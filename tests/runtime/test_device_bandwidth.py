from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from ferrylm.errors import MemoryLimitError
from ferrylm.runtime import device_bandwidth
from ferrylm.runtime.bandwidth import ReadBandwidth
from ferrylm.runtime.device_bandwidth import COPY, READ, measure_device_bandwidth

MIB = 1 << 20


class FakeGpu:
    """Copies at a fixed rate on a clock of its own."""

    kind, name = "cuda", "Some GPU"

    def __init__(self, free_bytes: int, bytes_per_s: float) -> None:
        self.free_bytes, self.bytes_per_s, self.now = free_bytes, bytes_per_s, 0.0

    def report(self) -> Any:
        return self

    def calling(self) -> Any:
        return nullcontext()

    def synchronize(self) -> None:
        self.now += 1e-5

    def upload(self, array: Any) -> Any:
        gpu, size = self, array.nbytes

        class Tensor:
            def copyto(self, _target: object) -> None:
                gpu.now += 2 * size / gpu.bytes_per_s

        return Tensor()


@pytest.mark.parametrize("rate", [20e9, 4.8e12])
def test_a_copy_counts_what_it_reads_and_what_it_writes(rate: float) -> None:
    gpu = FakeGpu(2 << 30, rate)
    found = measure_device_bandwidth(gpu, 1, clock=lambda: gpu.now)  # type: ignore[arg-type]
    assert found.method == COPY
    assert found.gb_s == pytest.approx(rate / 1e9, rel=0.01)
    assert found.copy_seconds == pytest.approx(512 * MIB / rate, rel=0.01)
    assert found.copied is not None


def test_a_copy_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MemoryLimitError, match="500 MiB of free memory on Some GPU"):
        measure_device_bandwidth(FakeGpu(500 * MIB, 1e9), 1)  # type: ignore[arg-type]


def test_a_processor_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(threads: int) -> ReadBandwidth:
        return ReadBandwidth(threads, 3e9 * threads, 1, "x")

    monkeypatch.setattr(device_bandwidth, "measure_read_bandwidth", measured)
    gpu = FakeGpu(0, 1.0)
    gpu.kind = "cpu"
    found = measure_device_bandwidth(gpu, 4)  # type: ignore[arg-type]
    assert (found.gb_s, found.method, found.copied) == (12.0, READ, None)
