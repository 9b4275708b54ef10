"""Launching kernels: arguments, grids, features, long kernels, and what is refused."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from vulkan_containers import (
    ADD,
    INCREMENT,
    LANES,
    MANY,
    SPIN,
    THREADS,
    Kernel,
    container,
    groups,
    module,
)

from ferrylm.runtime import vulkan_backend

SCALARS = ("int32", "uint8", "int64", "bool", "float32", "float64", "float16")


def encoded(*arguments: Any, types: tuple[str, ...] = SCALARS) -> list[bytes]:
    """Return the 8 bytes that a kernel sees of each scalar argument."""
    kernel = Kernel("scalars", ("handle", *types), ("w",) + ("",) * len(types))
    out = tvm.runtime.tensor(np.zeros(len(types), np.uint64), tvm.vulkan(0))
    module(kernel)["scalars"](out, *arguments, 1, THREADS)
    return [int(value).to_bytes(8, "little") for value in out.numpy()]


@pytest.mark.usefixtures("device")
def test_every_scalar_type_arrives_in_its_eight_bytes() -> None:
    found = encoded(-5, 250, -(1 << 40), True, 1.5, -math.pi, 0.1)
    assert found[0] == struct.pack("<q", -5)
    assert found[1] == struct.pack("<Q", 250)
    assert found[2] == struct.pack("<q", -(1 << 40))
    assert found[3] == struct.pack("<Q", 1)
    assert found[4][:4] == struct.pack("<f", 1.5)
    assert found[5] == struct.pack("<d", -math.pi)
    assert found[6][:2] == np.float16(0.1).tobytes()


@pytest.mark.usefixtures("device")
def test_halves_are_rounded_as_numpy_rounds_them() -> None:
    values = [0.0, -0.0, 1e-8, 5.96e-8, 6.1e-5, 2049.0, 2051.0, 65519.0, 65520.0, -1e30, math.inf]
    for start in range(0, len(values), 7):
        part = (values[start : start + 7] + [0.0] * 7)[:7]
        found = encoded(*part, types=("float16",) * 7)
        with np.errstate(over="ignore"):
            assert [bytes(b[:2]) for b in found] == [np.float16(v).tobytes() for v in part]


def test_more_arguments_than_push_constants_hold_go_through_memory(device: Any) -> None:
    kernels = module(MANY)
    arrays = np.random.default_rng(1).standard_normal((18, 1000)).astype(np.float32)
    tensors = [tvm.runtime.tensor(array, device) for array in arrays]
    out = tvm.runtime.empty((1000,), "float32", device)
    wanted = np.zeros(1000, np.float32)
    for array in arrays:
        wanted = wanted + array
    for _ in range(1500):  # every page of argument memory is used more than once
        kernels["many"](*tensors, out, 1000, groups(1000), THREADS)
    np.testing.assert_array_equal(out.numpy(), wanted)


def test_a_kernel_gets_the_subgroup_size_it_requires(device: Any) -> None:
    size = vulkan_backend.device_report()["min_subgroup_size"]
    out = tvm.runtime.tensor(np.zeros(THREADS, np.uint32), device)
    module(replace(LANES, subgroup_size=size))["lanes"](out, 1, THREADS)
    lanes = np.arange(THREADS) % size
    np.testing.assert_array_equal(out.numpy(), size * 256 + lanes)


def test_an_impossible_subgroup_size_is_refused_with_both_sizes(device: Any) -> None:
    size = 2 * vulkan_backend.device_report()["max_subgroup_size"]
    if size > 128:
        size = vulkan_backend.device_report()["min_subgroup_size"] // 2
    out = tvm.runtime.empty((THREADS,), "uint32", device)
    with (
        pytest.raises(vulkan_backend.VulkanFeatureError, match=f"needs subgroups of {size}"),
        vulkan_backend.typed_errors(),
    ):
        module(replace(LANES, subgroup_size=size))["lanes"](out, 1, THREADS)


def test_a_missing_feature_is_named_and_the_other_kernels_run(device: Any) -> None:
    kernels = module(replace(ADD, requires=("shaderOfTheFuture",)), INCREMENT)
    tensor = tvm.runtime.tensor(np.zeros(THREADS, np.float32), device)
    with (
        pytest.raises(vulkan_backend.VulkanFeatureError, match=r"add needs .* shaderOfTheFuture"),
        vulkan_backend.typed_errors(),
    ):
        kernels["add"](tensor, tensor, tensor, THREADS, 1, THREADS)
    kernels["increment"](tensor, THREADS, 1.0, 1, THREADS)
    np.testing.assert_array_equal(tensor.numpy(), np.ones(THREADS, np.float32))


def test_an_empty_grid_does_nothing(device: Any) -> None:
    tensor = tvm.runtime.tensor(np.zeros(THREADS, np.float32), device)
    module(INCREMENT)["increment"](tensor, THREADS, 1.0, 0, THREADS)
    np.testing.assert_array_equal(tensor.numpy(), np.zeros(THREADS, np.float32))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((1, THREADS), "takes 5 arguments, not 4"),
        ((1.0, 1, 32), "another workgroup size"),
        ((1.0, -1, THREADS), "workgroups in one direction"),
        ((1.0, 1 << 40, THREADS), "workgroups in one direction"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_before_anything_runs(
    device: Any, arguments: tuple[Any, ...], fault: str
) -> None:
    tensor = tvm.runtime.tensor(np.zeros(THREADS, np.float32), device)
    with (
        pytest.raises((vulkan_backend.VulkanError), match=fault),
        vulkan_backend.typed_errors(),
    ):
        module(INCREMENT)["increment"](tensor, THREADS, *arguments)
    np.testing.assert_array_equal(tensor.numpy(), np.zeros(THREADS, np.float32))


def test_an_address_that_is_no_tensor_of_the_device_is_refused(device: Any) -> None:
    tensor = tvm.runtime.tensor(np.zeros(THREADS, np.float32), device)
    host = tvm.runtime.tensor(np.zeros(THREADS, np.float32), tvm.cpu())
    with (
        pytest.raises(vulkan_backend.VulkanError, match="argument 1 of the kernel add is no"),
        vulkan_backend.typed_errors(),
    ):
        module(ADD)["add"](tensor, host, tensor, THREADS, 1, THREADS)


def test_a_long_kernel_is_cut_and_runs_every_workgroup_once(device: Any) -> None:
    grid = (90, 40, 3)
    vulkan_backend.call("set_option", "submission_budget_us", 1000)
    try:
        kernels = module(SPIN)
        counts = tvm.runtime.tensor(np.zeros((8, 256, 256), np.int32), device)
        before = vulkan_backend.counter_report()
        for _ in range(3):
            kernels["spin"](counts, 200, *grid, THREADS)
            device.sync()
        after = vulkan_backend.counter_report()
    finally:
        vulkan_backend.call("set_option", "submission_budget_us", 500_000)
    assert after["split_dispatches"] - before["split_dispatches"] == 3
    assert after["submissions"] - before["submissions"] > 6
    found = counts.numpy()
    wanted = np.zeros((8, 256, 256), np.int32)
    wanted[: grid[2], : grid[1], : grid[0]] = 3
    np.testing.assert_array_equal(found, wanted)


def test_the_profiler_names_each_kernel_with_its_grid_and_time(device: Any) -> None:
    import json

    kernels = module(ADD, INCREMENT)
    tensor = tvm.runtime.tensor(np.zeros(1000, np.float32), device)
    vulkan_backend.call("profile_begin", 0)
    kernels["increment"](tensor, 1000, 1.0, 16, THREADS)
    kernels["add"](tensor, tensor, tensor, 64, 1, THREADS)
    profile = json.loads(str(vulkan_backend.call("profile_end", 0)))
    assert [(entry["kernel"], entry["grid"]) for entry in profile] == [
        ("increment", [16, 1, 1]),
        ("add", [1, 1, 1]),
    ]
    assert all(entry["milliseconds"] > 0 for entry in profile)
    kernels["increment"](tensor, 1000, 1.0, 16, THREADS)
    vulkan_backend.call("profile_begin", 0)
    assert json.loads(str(vulkan_backend.call("profile_end", 0))) == []


def test_a_module_survives_export_and_load(device: Any, tmp_path: Path) -> None:
    from tvm.script import ir as I
    from tvm.script import tirx as T

    @I.ir_module
    class Host:
        @T.prim_func
        def nothing(a: T.handle) -> None:  # type: ignore[valid-type]
            A = T.match_buffer(a, (1,), "float32")
            A[0] = T.float32(1)

    library = tvm.compile(Host, target="llvm")
    kernels = module(ADD, INCREMENT)
    library.mod.import_module(kernels)
    library.export_library(str(tmp_path / "library.so"))
    loaded = tvm.runtime.load_module(str(tmp_path / "library.so"))
    found = next(part for part in loaded.imports if part.kind == "vulkan")
    tensor = tvm.runtime.tensor(np.ones(THREADS, np.float32), device)
    found["add"](tensor, tensor, tensor, THREADS, 1, THREADS)
    np.testing.assert_array_equal(tensor.numpy(), np.full(THREADS, 2, np.float32))
    assert container((ADD, INCREMENT)) in (tmp_path / "library.so").read_bytes()


def test_prepare_makes_all_pipelines_and_tells_its_progress(device: Any) -> None:
    seen: list[tuple[int, int]] = []
    kernels = module(ADD, INCREMENT, MANY, LANES)
    count = vulkan_backend.call(
        "prepare", kernels, 0, lambda done, total: seen.append((done, total))
    )
    assert count == 4
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert device.exist
