from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_steps import step_library
from stand_in_driver import RUNTIME, build_stand_ins

from ferrylm.errors import MemoryLimitError
from ferrylm.runtime import cuda_read, device_bandwidth
from ferrylm.runtime.bandwidth import ReadBandwidth
from ferrylm.runtime.device_bandwidth import COPY, KERNEL_READ, READ, measure_device_bandwidth

MIB = 1 << 20
PROGRAM = Path(__file__).parents[1] / "support" / "observed_cuda_program.py"


class FakeGpu:
    """Copies at a fixed rate on a clock of its own."""

    kind, name, device_class = "vulkan", "Some GPU", "discrete"

    def __init__(self, free_bytes: int, bytes_per_s: float) -> None:
        self.free_bytes, self.bytes_per_s, self.now = free_bytes, bytes_per_s, 0.0
        self.largest_read_bytes, self.reads_zeroes = 0, False
        self.taken_bytes: list[int] = []

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

    def arena(self, size_bytes: int) -> Any:
        self.taken_bytes.append(size_bytes)
        return self

    def take(self, shape: Any, dtype: str, *, zeroed: bool = False) -> Any:
        self.reads_zeroes = zeroed or self.reads_zeroes
        return np.broadcast_to(np.zeros((), dtype), shape)

    def read(self, memory: Any, sums: Any) -> None:
        assert sums.shape == (memory.shape[1], memory.shape[3])
        self.largest_read_bytes = max(self.largest_read_bytes, memory.nbytes)
        self.now += memory.nbytes / self.bytes_per_s


@pytest.mark.parametrize("rate", [20e9, 4.8e12])
def test_a_copy_counts_what_it_reads_and_what_it_writes(rate: float) -> None:
    gpu = FakeGpu(2 << 30, rate)
    found = measure_device_bandwidth(gpu, 1, clock=lambda: gpu.now)  # type: ignore[arg-type]
    assert found.method == COPY
    assert found.gb_s == pytest.approx(rate / 1e9, rel=0.01)


@pytest.mark.parametrize("rate", [20e9, 4.8e12])
def test_the_librarys_kernel_reads_where_there_is_one(rate: float) -> None:
    gpu = FakeGpu(9 << 30, rate)
    found = measure_device_bandwidth(gpu, 1, gpu.read, clock=lambda: gpu.now)  # type: ignore[arg-type]
    assert found.method == KERNEL_READ
    assert all(3500 * MIB < size <= 4096 * MIB for size in gpu.taken_bytes)  # beyond all caches
    assert found.gb_s == pytest.approx(rate / 1e9, rel=0.01)
    assert gpu.reads_zeroes  # memory that was never written may be one page
    assert 900 * MIB < gpu.largest_read_bytes <= 1024 * MIB  # what Vulkan lets every device take


def test_a_device_in_software_copies_all_the_same() -> None:
    gpu = FakeGpu(3 << 30, 20e9)
    gpu.device_class = "software"
    found = measure_device_bandwidth(gpu, 1, gpu.read, clock=lambda: gpu.now)  # type: ignore[arg-type]
    assert (found.method, gpu.largest_read_bytes) == (COPY, 0)


def test_half_of_the_free_memory_is_read_where_that_is_less() -> None:
    gpu = FakeGpu(800 * MIB, 20e9)
    measure_device_bandwidth(gpu, 1, gpu.read, clock=lambda: gpu.now)  # type: ignore[arg-type]
    assert 256 * MIB < gpu.largest_read_bytes <= 400 * MIB
    assert max(gpu.taken_bytes) <= 400 * MIB
    with pytest.raises(MemoryLimitError, match="500 MiB of free memory on Some GPU"):
        measure_device_bandwidth(FakeGpu(500 * MIB, 20e9), 1, gpu.read)  # type: ignore[arg-type]


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
    assert (found.gb_s, found.method) == (12.0, READ)


def on_the_stand_ins(folder: Path, memory_bytes: int) -> tuple[dict[str, Any], list[str]]:
    build_stand_ins(folder)
    (folder / "step.so").write_bytes(step_library("80"))
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(folder),
        "STAND_IN_CUDA": f"memory={memory_bytes};device=9.0,{memory_bytes},NVIDIA H100",
        "STAND_IN_CUDA_LOG": str(folder / "log"),
        "TVM_USE_RUNTIME_LIB": "1",
    }
    done = subprocess.run(
        [sys.executable, PROGRAM, folder / RUNTIME, folder / "step.so", "bandwidth"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), (folder / "log").read_text().splitlines()


def test_an_nvidia_gpu_reads_with_a_kernel_what_its_memory_allows(tmp_path: Path) -> None:
    answer, log = on_the_stand_ins(tmp_path, 2 << 30)
    launches = [line for line in log if line.startswith(f"launch {cuda_read.KERNEL} ")]
    sizes = []
    for line in launches:
        blocks, turns = re.search(r"grid (\d+) 1 1 block 512 1 1 .* turns (\d+)$", line).groups()  # type: ignore[union-attr]
        sizes.append(int(blocks) * int(turns) * cuda_read.THREADS * 64)
    assert len(set(launches)) == 3  # numbers of blocks, with memory of its own each
    assert all(900 * MIB < size <= 1024 * MIB for size in sizes)
    assert answer["method"] == KERNEL_READ
    # The stand-in's events are half a millisecond apart.
    assert len(launches) == 3 * 8 * 4  # with a round to warm up, each of four launches
    assert answer["gb_s"] == pytest.approx(4 * max(sizes) / 0.5e-3 / 1e9, rel=1e-6)


def test_an_nvidia_gpu_without_that_memory_is_refused(tmp_path: Path) -> None:
    answer, _ = on_the_stand_ins(tmp_path, 900 * MIB)
    assert answer["error"] == "MemoryLimitError"


@pytest.mark.parametrize("chip", ["sm_75", "sm_90a"])
def test_the_kernel_reads_four_times_sixteen_bytes_at_once(tmp_path: Path, chip: str) -> None:
    assembler = shutil.which("ptxas")
    if assembler is None:
        pytest.skip("no ptxas, which comes with NVIDIA's toolkit")
    (tmp_path / "read.ptx").write_text(cuda_read.PTX)
    done = subprocess.run(
        [assembler, f"-arch={chip}", "-v", tmp_path / "read.ptx", "-o", tmp_path / "read.cubin"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "0 bytes spill stores" in done.stdout + done.stderr
    assert cuda_read.PTX.count("ld.global.cs.v4.u32") == cuda_read.LOADS
