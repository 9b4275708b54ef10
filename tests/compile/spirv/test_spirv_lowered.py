"""What TVM's own schedules and passes make of whole functions, on the device, beside numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import spirv_scripts as scripts
import tvm
from spirv_run import FULL, PLAIN, VULKAN_1_3, build, check_module, kernels_of, run, target
from tvm import te, topi
from tvm.s_tir import dlight

PIPELINE = "s_tir"  # TVM's
RANDOM = np.random.default_rng(3)
RULES = (
    dlight.gpu.Matmul(),
    dlight.gpu.GEMV(),
    dlight.gpu.Reduction(),
    dlight.gpu.GeneralReduction(),
    dlight.gpu.Transpose(),
    dlight.gpu.Fallback(),
)


def scheduled(tensors: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return the function of tensor expressions with one of TVM's GPU schedules."""
    module = tvm.IRModule({"main": te.create_prim_func(list(tensors))})
    with target(options):
        return dlight.ApplyDefaultSchedule(*RULES)(module)["main"]


def answer(device: Any, function: Any, arrays: Sequence[np.ndarray], options: Any) -> np.ndarray:
    built = build(function, options, PIPELINE)
    for entry, module in kernels_of(built.container):
        check_module(module, entry["spirv_version"])
    return run(built, device, arrays)[-1]


def _product(rows: int, dtype: str, result: str) -> list[Any]:
    a, b = te.placeholder((rows, 96), dtype), te.placeholder((80, 96), dtype)
    k = te.reduce_axis((0, 96))
    return [
        a,
        b,
        te.compute(
            (rows, 80),
            lambda i, j: te.sum(a[i, k].astype(result) * b[j, k].astype(result), axis=k),
        ),
    ]


@pytest.mark.parametrize("options", [FULL, PLAIN, VULKAN_1_3], ids=["full", "plain", "1.3"])
@pytest.mark.parametrize("rows", [1, 70])
@pytest.mark.parametrize(
    ("dtype", "result"), [("float32", "float32"), ("float16", "float32"), ("int8", "int32")]
)
def test_matrix_products(
    vulkan: Any, rows: int, dtype: str, result: str, options: dict[str, Any]
) -> None:
    function = scheduled(_product(rows, dtype, result), options)
    a, b = (RANDOM.integers(-9, 9, (count, 96)).astype(dtype) for count in (rows, 80))
    found = answer(vulkan, function, [a, b, np.zeros((rows, 80), result)], options)
    np.testing.assert_array_equal(found, a.astype(np.int64) @ b.astype(np.int64).T)


def _softmax(x: np.ndarray) -> np.ndarray:
    shares = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


@pytest.mark.parametrize(
    ("build_", "reference", "result"),
    [
        (lambda x: topi.nn.softmax(x), _softmax, "float32"),
        (lambda x: topi.sum(x, axis=1), lambda x: x.sum(1), "float32"),
        (lambda x: topi.max(x, axis=1), lambda x: x.max(1), "float32"),
        (lambda x: topi.argmax(x, axis=1), lambda x: x.argmax(1), "int32"),
        (lambda x: topi.transpose(x), lambda x: x.T, "float32"),
        (lambda x: topi.tanh(x), np.tanh, "float32"),
        (lambda x: topi.cast(x, "float16"), lambda x: x.astype(np.float16), "float16"),
        (lambda x: topi.strided_slice(x, [1, 2], [15, 290], [2, 3]), lambda x: x[1:15:2, 2:290:3],
         "float32"),
        (lambda x: topi.nn.pad(x, [1, 2], [0, 3]), lambda x: np.pad(x, ((1, 0), (2, 3))),
         "float32"),
    ],
    ids=["softmax", "sum", "max", "argmax", "transpose", "tanh", "cast", "slice", "pad"],
)  # fmt: skip
def test_functions_of_topi(vulkan: Any, build_: Any, reference: Any, result: str) -> None:
    x = RANDOM.normal(size=(16, 300)).astype(np.float32)
    given = te.placeholder(x.shape, "float32")
    wanted = reference(x.astype(np.float64) if result == "float32" else x)
    out = np.zeros(wanted.shape, result)
    found = answer(vulkan, scheduled([given, build_(given)], FULL), [x, out], FULL)
    np.testing.assert_allclose(found, wanted, rtol=3e-6, atol=2e-5)


def test_a_convolution(vulkan: Any) -> None:
    image = RANDOM.normal(size=(1, 8, 20, 20)).astype(np.float32)
    weight = RANDOM.normal(size=(16, 8, 3, 3)).astype(np.float32)
    i, w = te.placeholder(image.shape, "float32"), te.placeholder(weight.shape, "float32")
    function = scheduled([i, w, topi.nn.conv2d(i, w, 1, 0, 1)], FULL)
    out = np.zeros((1, 16, 18, 18), np.float32)
    found = answer(vulkan, function, [image, weight, out], FULL)
    windows = np.lib.stride_tricks.sliding_window_view(image[0], (3, 3), axis=(1, 2))
    np.testing.assert_allclose(found[0], np.einsum("chwyx,ocyx->ohw", windows, weight), atol=1e-4)


@pytest.mark.parametrize("options", [FULL, PLAIN], ids=["full", "plain"])
@pytest.mark.parametrize("small", ["float16", "int8", "uint16", "float64"])
def test_dynamic_shared_memory_of_two_types(
    vulkan: Any, small: str, options: dict[str, Any]
) -> None:
    """TVM merges such buffers into one of bytes, which is then seen as both types."""
    a = RANDOM.integers(-50, 50, scripts.COUNT).astype(np.float32)
    function = scripts.merged_shared(small)
    found = answer(vulkan, function, [a, np.zeros_like(a)], options)
    turned = a.reshape(8, 8).T.reshape(-1)
    np.testing.assert_array_equal(found, turned.astype(np.int32).astype(small).astype(np.float32))
