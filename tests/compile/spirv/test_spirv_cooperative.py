"""Cooperative matrices in modules: what products ask of a device, vectors in shared memory."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import spirv_thread_scripts as threads
from spirv_run import FULL, build, build_all, check_module, check_valid, kernels_of, numbers, run
from tvm.script import tirx as T

from ferrylm.compile.vulkan_library import kernel_needs
from ferrylm.compile.vulkan_tiers import TIERS
from ferrylm.errors import CompileError
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_cooperative import cooperative_prefill_attention
from ferrylm.schedules.gpu.attention_cooperative_plan import cooperative_plan
from ferrylm.schedules.gpu.cooperative_operations import store_sums
from ferrylm.schedules.gpu.cooperative_rows import cooperative_rows, expose_rows
from ferrylm.schedules.gpu.cooperative_tiles import cooperative_tile
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matmul_cooperative import cooperative_matmul
from ferrylm.schedules.gpu.matvec_grid import Product

COOPERATIVE = {**FULL, "supports_cooperative_matrix": True}
FORMATS = (("q4", False), ("q4", True), ("q8", False))
SHAPES = {"plain": (101, 100), "residual": (72, 720), "swiglu": (280, 160)}
MATRIX_TIERS = [tier for tier in TIERS.values() if tier.profile.cooperative is not None]


def opcodes(module: bytes) -> list[int]:
    words = struct.unpack(f"<{len(module) // 4}I", module)
    at, found = 5, []
    while at < len(words):
        found.append(words[at] & 0xFFFF)
        at += words[at] >> 16
    return found


@pytest.mark.parametrize(
    ("dtype", "result", "feature"),
    [
        ("float16", "float32", "cooperativeMatrix16x16x16Float16Float32"),
        ("float16", "float16", "cooperativeMatrix16x16x16Float16Float16"),
        ("int8", "int32", "cooperativeMatrix16x16x16Sint8Sint32"),
    ],
)
def test_a_product_asks_for_its_sizes_and_types(dtype: str, result: str, feature: str) -> None:
    entry, _ = build(threads.cooperative_product(dtype, result, False), COOPERATIVE).kernel()
    assert feature in entry["requires"]
    assert feature in kernel_needs([entry]).features


@pytest.mark.parametrize("tier", MATRIX_TIERS, ids=lambda tier: tier.name)
def test_every_product_of_a_matrix_tier_is_valid_and_asks_for_one_shape(tier: Any) -> None:
    profile, m = tier.profile, tier.profile.cooperative[0]
    functions = {}
    for epilogue, shape in SHAPES.items():
        for storage, minimum in FORMATS:
            fmt = WeightFormat(*shape, storage, minimum, "int16")
            product = Product(Rows(8), fmt, epilogue)
            tile = cooperative_tile(profile, product)
            functions[f"{epilogue}_{fmt.tag}"] = cooperative_matmul(
                product, tile, profile.subgroup, profile.cooperative
            )
    functions["normed"] = cooperative_rows(Rows(8), 100, 256, profile.subgroup, 1e-5)
    functions["rows"] = cooperative_rows(Rows(8), 100, 256, profile.subgroup)
    functions["expose"] = expose_rows(Rows(8), 100, 256)
    kernels = kernels_of(build_all(functions, tier.tvm_target()).container)
    assert len(kernels) == 12
    for entry, module in kernels:
        check_module(module, entry["spirv_version"])
        asked = [name for name in entry["requires"] if name.startswith("cooperativeMatrix")]
        wanted = ["cooperativeMatrix", f"cooperativeMatrix{m}x{m}x{m}Float16Float32"]
        assert asked == (wanted if "int16" in entry["name"] else [])
        assert entry["shared_bytes"] <= profile.shared_bytes


@pytest.mark.parametrize("tier", MATRIX_TIERS, ids=lambda tier: tier.name)
def test_attention_of_a_matrix_tier_is_valid_and_asks_for_the_same_shape(tier: Any) -> None:
    profile, m = tier.profile, tier.profile.cooperative[0]
    functions = {}
    for heads in ((8, 2, 128), (14, 2, 64), (3, 1, 80)):
        plan = cooperative_plan(profile, AttentionShape(*heads, "float16"))
        functions[f"heads_of_{heads[2]}"] = cooperative_prefill_attention(Rows(8), plan)
    for entry, module in kernels_of(build_all(functions, tier.tvm_target()).container):
        check_module(module, entry["spirv_version"])
        asked = [name for name in entry["requires"] if name.startswith("cooperativeMatrix")]
        assert asked == ["cooperativeMatrix", f"cooperativeMatrix{m}x{m}x{m}Float16Float32"]
        assert entry["shared_bytes"] <= profile.shared_bytes
        assert entry["subgroup_size"] == profile.subgroup


def test_tiles_are_scaled_by_tiles_of_their_own_type_alone() -> None:
    with pytest.raises(CompileError, match="scaled by one of another type"):
        build(scaled("float16"), COOPERATIVE)
    module = build(scaled("float32"), COOPERATIVE).kernel()[1]
    assert opcodes(module).count(133) == 1  # OpFMul, of whole matrices


def scaled(dtype: str) -> Any:
    """Return a kernel that multiplies a tile of float32 by one of some type."""

    @T.prim_func(s_tir=True)
    def func(o: T.Buffer((32,), "float32")):  # type: ignore
        T.func_attr({"ferrylm.subgroup_size": 32})
        for t in T.thread_binding(32, thread="threadIdx.x"):
            staged = T.alloc_buffer((64,), "uint32x4", scope="shared")
            tile = T.alloc_buffer((1,), "float32", scope="local")
            factors = T.alloc_buffer((1,), dtype, scope="local")
            T.evaluate(
                T.call_extern(
                    "int32", "ferrylm.coopmat_fill", T.address_of(tile[0]), 2, "float32", 16, 16,
                    T.float32(2),
                )
            )  # fmt: skip
            T.evaluate(
                T.call_extern(
                    "int32", "ferrylm.coopmat_fill", T.address_of(factors[0]), 2, dtype, 16, 16,
                    T.cast(3, dtype),
                )
            )  # fmt: skip
            T.evaluate(
                T.call_extern(
                    "int32", "ferrylm.coopmat_scale", T.address_of(tile[0]),
                    T.address_of(factors[0]),
                )
            )  # fmt: skip
            T.evaluate(store_sums(tile[0], staged[0], 4))
            o[t] = T.float32(0)

    return func


def test_shared_vectors_are_read_and_written_whole(vulkan: Any) -> None:
    built = build(rotated, FULL)
    check_valid(built)
    entry, module = built.kernel()
    assert entry["shared_bytes"] == 32 * 16
    assert opcodes(module).count(62) == 2  # OpStore: to shared memory, to the result
    words = numbers("uint32", 128)
    found = run(built, vulkan, [words, np.zeros(128, np.uint32)])[-1]
    np.testing.assert_array_equal(found, np.roll(words, -4))


@T.prim_func(s_tir=True)
def rotated(a: T.Buffer((128,), "uint32"), o: T.Buffer((128,), "uint32")):  # type: ignore
    """Exchange vectors of four words with the next thread by way of shared memory."""
    for t in T.thread_binding(32, thread="threadIdx.x"):
        staged = T.alloc_buffer((32,), "uint32x4", scope="shared")
        staged[t] = a[T.Ramp(4 * t, 1, 4)]
        T.evaluate(T.tvm_storage_sync("shared"))
        o[T.Ramp(4 * t, 1, 4)] = staged[(t + 1) % 32]


def test_lanes_of_a_cpu_wait_for_their_subgroup_without_a_barrier_of_control() -> None:
    """Mesa's software driver would let them wait for the whole workgroup."""
    function = threads.synchronizing("warp")
    for width, opcode in ((8, 225), (32, 224)):  # OpMemoryBarrier, OpControlBarrier
        built = build(function.with_attr("ferrylm.subgroup_size", width), FULL)
        check_valid(built)
        barriers = [op for op in opcodes(built.kernel()[1]) if op in (224, 225)]
        assert barriers == [opcode]


def test_a_tile_needs_an_index_that_is_known() -> None:
    @T.prim_func(s_tir=True)
    def func(o: T.Buffer((256,), "float32")):  # type: ignore
        T.func_attr({"ferrylm.subgroup_size": 32})
        for t in T.thread_binding(32, thread="threadIdx.x"):
            tiles = T.alloc_buffer((2,), "float32", scope="local")
            for i in T.serial(2):
                T.evaluate(
                    T.call_extern(
                        "int32", "ferrylm.coopmat_fill", T.address_of(tiles[i]), 2, "float32", 16,
                        16, T.float32(0),
                    )
                )  # fmt: skip
            o[t] = T.float32(0)

    with pytest.raises(CompileError, match="constant element"):
        build(func, COOPERATIVE)
