"""Kernels of whole steps, timed on the CPU and on a Vulkan device where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferrylm.cli import traffic
from ferrylm.errors import DeviceError, UsageError
from ferrylm.runtime import observed_engine
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import probe_kind
from ferrylm.runtime.device_bandwidth import DeviceBandwidth
from ferrylm.runtime.engine import open_engine
from ferrylm.runtime.kernel_times import _Call, _device_sample
from ferrylm.runtime.memory_read import LOAD_WORDS, LOADS, THREADS, memory_shape, read_gb_s
from ferrylm.runtime.observed_engine import ObservedEngine, open_observed_engine
from tests.engine.built_artifacts import Build

DEPTH = 40


@pytest.fixture(autouse=True)
def no_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement of the bandwidth has its own tests and takes a second."""
    found = DeviceBandwidth(10.0, "made up")
    monkeypatch.setattr(observed_engine, "measure_device_bandwidth", lambda *_: found)


@contextmanager
def observed(path: Path, device: str = "cpu", batch: int = 1) -> Iterator[ObservedEngine]:
    with ExitStack() as stack:
        artifact = stack.enter_context(Artifact.open(path))
        found = open_observed_engine(
            artifact, device=device, target=None, threads=1, context_length=100,
            max_sequences=batch,
        )  # fmt: skip
        stack.callback(found.close)
        yield found


def needs_vulkan() -> None:
    probe = probe_kind("vulkan")
    if not probe.devices:
        pytest.skip(f"no Vulkan device: {probe.problem}")


def test_a_decode_step_reads_every_weight_once(build: Build) -> None:
    with observed(build("int16")) as found:
        times = found.timer.decode(1, DEPTH, 2)
        library, manifest = found.plan.library, Artifact.open(build("int16")).manifest
    assert times.name == "decode, batch 1, depth 40"
    names = [launch.name for launch in times.launches]
    assert names[0] == "embed_batch1"
    assert sum("attention" in name for name in names) == manifest.model.num_layers
    weights = traffic.weight_bytes_per_token(manifest, library)
    keys = (DEPTH + 1) * traffic.kv_bytes_per_token(manifest.model, library)
    moved = sum(launch.traffic.bytes_moved for launch in times.launches)
    # Besides weights and keys there are activations, small as the model is wide.
    assert weights + keys < moved < 1.25 * (weights + keys)
    assert all(launch.milliseconds > 0 for launch in times.launches)
    assert times.step_milliseconds > 0


def test_operations_are_two_for_each_weight_and_sequence(build: Build) -> None:
    with observed(build("int16"), batch=4) as found:
        one, four = found.timer.decode(1, 8, 1), found.timer.decode(4, 8, 1)
    products = [sum(x.traffic.operations for x in t.launches if x.traffic.arithmetic == "int16")
                for t in (one, four)]  # fmt: skip
    assert 0 < 4 * products[0] == products[1]


def test_a_prompt_is_timed_behind_its_depth(build: Build) -> None:
    with observed(build("int16")) as found:
        times = found.timer.prefill(20, DEPTH, 1)
        assert found.engine.open_sequence().length == 0  # the timer's sequence was closed
    assert (times.shape.rows, times.shape.depth) == (20, DEPTH)
    assert any(launch.name.endswith("_prefill") for launch in times.launches)
    assert not any(launch.name.startswith(("vm.", "shape_func")) for launch in times.launches)


def test_an_engine_that_was_watched_computes_as_before(build: Build) -> None:
    ids = np.arange(30, dtype=np.int32)
    with Artifact.open(build("int16")) as artifact:
        plain = open_engine(artifact, device="cpu", threads=1, context_length=100)
        wanted = plain.prefill(plain.open_sequence(), ids)
        plain.close()
    with observed(build("int16")) as found:
        found.timer.decode(1, 5, 1)
        logits = found.engine.prefill(found.engine.open_sequence(), ids)
    np.testing.assert_array_equal(logits, wanted)


def test_a_gpu_tells_the_times_of_a_step_that_is_otherwise_replayed(build: Build) -> None:
    needs_vulkan()
    with observed(build("vulkan nibbles"), "vulkan") as found:
        times = found.timer.decode(1, DEPTH, 2)
        library, manifest = found.plan.library, Artifact.open(build("vulkan nibbles")).manifest
    assert library.kind == "vulkan"
    names = [launch.name for launch in times.launches]
    assert names.count("rope_attention_batch1") == manifest.model.num_layers
    assert sum("_q4" in name for name in names) >= 4 * manifest.model.num_layers + 1
    assert all(launch.milliseconds > 0 for launch in times.launches)


def test_a_library_for_a_gpu_brings_along_what_measures_its_bandwidth(build: Build) -> None:
    needs_vulkan()
    with observed(build("vulkan nibbles"), "vulkan") as found:
        backend, reader = found.engine.backend, found.engine.memory_reader
        memory = backend.upload(np.full(memory_shape(2, 3), 7, np.uint32))
        sums = backend.upload(np.zeros((3, THREADS), np.uint32))
        reader(memory, sums)
        np.testing.assert_array_equal(backend.download(sums), 2 * LOADS * LOAD_WORDS * 7)
        assert read_gb_s(backend, reader, 64 << 20, time.perf_counter) > 0
    with observed(build("int16")) as found:
        assert found.engine.memory_reader is None


def test_a_batch_without_a_decode_function_is_refused(build: Build) -> None:
    with pytest.raises(UsageError, match="a batch of 3"), observed(build("int16"), batch=3):
        pass


def test_a_device_that_tells_no_times_is_named(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    with observed(build("int16")) as found:
        monkeypatch.setattr(found.engine.backend.below, "kind", "rocm")
        with pytest.raises(DeviceError, match="a rocm device"):
            found.timer.decode(1, 5, 1)
        assert found.engine.open_sequence().length == 0


def calls(*names: str) -> list[_Call]:
    return [_Call(name, ()) for name in names]


def launches(*names: str) -> list[dict[str, Any]]:
    return [{"kernel": n, "milliseconds": 1.0 + i, "grid": None} for i, n in enumerate(names)]


def test_launches_find_their_functions_in_order() -> None:
    found = _device_sample(
        calls("a_batch1", "sizes", "a_batch1", "ab_batch1"),
        launches("a_batch1_kernel", "a_batch1_kernel", "ab_batch1_kernel"),
    )
    assert found.milliseconds == (1.0, 0.0, 2.0, 3.0)


def test_the_kernels_of_one_function_add_up() -> None:
    found = _device_sample(
        calls("two", "two", "one"),
        launches("two_kernel", "two_kernel_1", "two_kernel", "two_kernel_1", "one_kernel"),
    )
    assert found.milliseconds == (3.0, 7.0, 5.0)


def test_functions_that_a_backend_times_as_a_whole_match_by_name() -> None:
    found = _device_sample(calls("a", "b"), launches("shape_func3", "a", "b"))
    assert found.milliseconds == (2.0, 3.0)


def test_a_launch_of_nobody_is_refused() -> None:
    with pytest.raises(DeviceError, match="stranger_kernel"):
        _device_sample(calls("a", "b"), launches("a_kernel", "stranger_kernel"))
