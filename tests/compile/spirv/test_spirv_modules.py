"""What modules and containers look like, and what is refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import spirv_scripts as scripts
import spirv_thread_scripts as threads
from spirv_kernels import elementwise
from spirv_run import FULL, PLAIN, VULKAN_1_3, build, build_all, check_valid, kernels_of
from tvm.script import tirx as T

from ferrylm.compile.spirv.module_builder import text_words
from ferrylm.errors import CompileError

COOPERATIVE = {**VULKAN_1_3, "supports_cooperative_matrix": True}


def instructions(module: bytes) -> list[tuple[int, tuple[int, ...]]]:
    """Return opcode and operands of each instruction."""
    words = struct.unpack(f"<{len(module) // 4}I", module)
    at, found = 5, []
    while at < len(words):
        count = words[at] >> 16
        found.append((words[at] & 0xFFFF, words[at + 1 : at + count]))
        at += count
    return found


def opcodes(module: bytes) -> list[int]:
    return [op for op, _ in instructions(module)]


def copying(dtype: str, lanes: int) -> Any:
    return elementwise(lambda x: x, [dtype], dtype, 256, lanes)


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 4), ("float16", 8), ("int8", 16)])
def test_sixteen_bytes_are_one_load_and_one_store(dtype: str, lanes: int) -> None:
    entry, module = build(copying(dtype, lanes), FULL).kernel()
    accesses = [
        words[-1]
        for op, words in instructions(module)
        if (op, len(words)) in ((61, 5), (62, 4)) and words[-2] == 2  # with Aligned
    ]
    assert accesses == [16, 16]
    assert "storageBuffer8BitAccess" not in entry["requires"]


@pytest.mark.parametrize(
    ("first", "alignment"), [(0, 16), (1, 4), (2, 8), (3, 4), (4, 16)], ids=str
)
def test_no_more_alignment_is_claimed_than_an_index_has(first: int, alignment: int) -> None:
    module = build(scripts.strided("float32", 4, 1, first), FULL).kernel()[1]
    (loads,) = [w for op, w in instructions(module) if op == 61 and len(w) == 5 and w[3] == 2]
    assert loads[-1] == alignment


def test_an_index_is_added_to_the_address_once() -> None:
    module = build(copying("float32", 4), FULL).kernel()[1]
    assert opcodes(module).count(113) == 1  # OpUConvert
    assert opcodes(module).count(120) == 2  # OpConvertUToPtr: one to read, one to write


def test_a_kernel_says_what_its_caller_must_know() -> None:
    entry = build(threads.subgroup("ferrylm.subgroup_add", "float32"), FULL).kernel()[0]
    assert entry["arguments"] == ["handle", "handle"]
    assert entry["access"] == ["r", "w"]
    assert entry["launch"] == ["threadIdx.x"]
    assert (entry["local_size"], entry["subgroup_size"]) == ([64, 1, 1], 8)
    assert (entry["shared_bytes"], entry["argument_buffer"]) == (0, False)
    assert entry["spirv_version"] == "1.5"
    assert entry["requires"] == [
        "bufferDeviceAddress", "shaderInt64", "subgroupArithmetic", "subgroupBasic",
    ]  # fmt: skip


def test_memory_that_is_added_to_counts_as_read_and_written() -> None:
    function = threads.atomic("int32", "ferrylm.atomic_add")
    assert build(function, FULL).kernel()[0]["access"] == ["r", "rw"]


def test_shared_memory_is_counted() -> None:
    sizes = [
        build(scripts.shared_transpose(dtype, 1), options).kernel()[0]["shared_bytes"]
        for dtype, options in (
            ("float32", FULL),
            ("float16", FULL),
            ("int8", FULL),
            ("int8", PLAIN),
        )
    ]
    assert sizes == [512, 256, 128, 512]


def test_halves_need_no_arithmetic_of_the_device_unless_the_target_has_it() -> None:
    function = elementwise(lambda a, b: a * b, ["float16"] * 2, "float16", 256, 8)
    plain, full = (build(function, options).kernel()[0]["requires"] for options in (PLAIN, FULL))
    assert "shaderFloat16" not in plain
    assert "shaderFloat16" in full


def test_halves_stay_packed_where_the_target_has_arithmetic_on_them() -> None:
    function = elementwise(lambda a, b: a * b, ["float16"] * 2, "float16", 256, 8)
    module = build(function, FULL).kernel()[1]
    assert opcodes(module).count(133) == 2  # OpFMul, of four halves each


def test_names_of_kernels_and_buffers_are_kept() -> None:
    module = build(scripts.local_table("int32"), FULL).kernel()[1]
    names = [words[1:] for op, words in instructions(module) if op == 5]
    assert text_words("table") in names
    assert text_words("main_kernel") in names


def test_equal_kernels_lie_in_the_container_once_and_the_order_is_that_of_names() -> None:
    functions = {"b": copying("int32", 1), "a": copying("int32", 1), "c": copying("int32", 4)}
    kernels = [entry for entry, _ in kernels_of(build_all(functions, FULL).container)]
    assert [entry["name"] for entry in kernels] == ["a_kernel", "b_kernel", "c_kernel"]
    assert all(entry["offset"] % 8 == 0 for entry in kernels)


def test_the_same_functions_give_the_same_bytes() -> None:
    first, second = (build(scripts.nested, FULL).container for _ in range(2))
    assert first == second


@pytest.mark.parametrize("shared", [False, True], ids=["global", "shared"])
@pytest.mark.parametrize(
    ("dtype", "result"), [("float16", "float32"), ("float16", "float16"), ("int8", "int32")]
)
def test_cooperative_matrices_are_valid(dtype: str, result: str, shared: bool) -> None:
    """They are not run: the software driver has none."""
    built = build(threads.cooperative_product(dtype, result, shared), COOPERATIVE)
    check_valid(built)
    entry, module = built.kernel()
    assert {"cooperativeMatrix", "vulkanMemoryModel"} <= set(entry["requires"])
    assert opcodes(module).count(4459) == 1  # OpCooperativeMatrixMulAddKHR


def refusing(build_: Any, dtype: str = "float32") -> Any:
    return elementwise(build_, [dtype], dtype, 64, 1)


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (refusing(lambda x: T.exp(x), "float64"), "exp of float64"),
        (refusing(lambda x: T.call_pure_extern("float32", "foo", x)), "foo"),
        (refusing(lambda x: T.call_llvm_pure_intrin("float32", "llvm.sqrt", x)), "llvm"),
        (threads.subgroup("ferrylm.subgroup_add_clustered", "float32", 3), "3 lanes"),
        (threads.subgroup("ferrylm.subgroup_add_clustered", "float32", 16), "16 lanes"),
        (threads.subgroup("ferrylm.subgroup_add", "float64"), "float64"),
        (threads.atomic("float64", "ferrylm.atomic_add"), "float64"),
        (threads.synchronizing("global"), "global"),
        (threads.asserting, "assert"),
        (threads.cooperative_product("float16", "float32", False), "cooperative matrix"),
    ],
)
def test_what_vulkan_cannot_do_is_refused_by_name(function: Any, named: str) -> None:
    with pytest.raises(CompileError) as caught:
        build(function, FULL)
    assert named in str(caught.value)
    assert "main_kernel" in str(caught.value)


def test_more_shared_memory_than_the_target_has_is_refused() -> None:
    function = scripts.shared_transpose("float64", 1)
    with pytest.raises(CompileError, match="1024 bytes of shared memory"):
        build(function, {**FULL, "max_shared_memory_per_block": 1000})


def test_a_domain_covers_the_edges() -> None:
    from spirv_domains import arguments

    (values,) = arguments("any", "float32", 1, "seed")
    assert np.isnan(values).any()
    assert np.isinf(values).any()
