"""scripts/compare_dlight.py: that it finds the products of a step, and computes what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_measurements import measurement

from ferrylm.runtime.backends import open_backend, probe_kind
from ferrylm.runtime.manifest import Parameter
from scripts import compare_dlight, dlight_products
from scripts.weight_product import WeightProduct


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("normed_plain_q4_int16_6144x4096_batch1", (4, False, 6144, 4096)),
        ("residual_prepared_q4m_f32_576x1536_batch1", (4, True, 576, 1536)),
        ("plain_q8_f32_49152x576_batch1", (8, False, 49152, 576)),
        ("plain_f16_f32_64x64_batch1", None),
        ("plain_q4_f32_64x64_prefill", None),
        ("plain_q4_f32_64x72_batch1", None),
        ("attention_batch1", None),
    ],
)
def test_a_product_is_known_by_its_name(name: str, found: Any) -> None:
    wanted = None if found is None else WeightProduct(*found)
    assert compare_dlight.product_of(name) == wanted


def test_products_are_those_of_decode_steps() -> None:
    found = compare_dlight.products_of_steps(measurement().steps)
    assert {(product.rows, product.columns) for product, _ in found} == {
        (96, 64), (64, 64), (500, 64),
    }  # fmt: skip


def test_products_are_found_among_the_parameters_of_a_library() -> None:
    def parameter(name: str, *shape: int) -> Parameter:
        return Parameter(name, "uint32", shape, (name,), None)

    found = dlight_products.products_of([
        parameter("layers.0.qkv.codes", 96, 2, 4), parameter("layers.0.qkv.scale", 96, 2),
        parameter("head.codes", 500, 2, 8), parameter("down.minimum", 64, 3),
        parameter("down.codes", 64, 3, 4), parameter("norm", 64),
    ])  # fmt: skip
    assert set(found) == {
        WeightProduct(4, False, 96, 64), WeightProduct(8, False, 500, 64),
        WeightProduct(4, True, 64, 96),
    }  # fmt: skip


@pytest.mark.parametrize(("bits", "minimum"), [(4, False), (4, True), (8, False)])
def test_dlights_function_is_checked_and_timed(tmp_path: Path, bits: int, minimum: bool) -> None:
    probe = probe_kind("vulkan")
    if not probe.devices:
        pytest.skip(f"no Vulkan device: {probe.problem}")
    product = WeightProduct(bits, minimum, 48, 64)
    dlight_products.build([product, product], tmp_path, "float16", "vulkan", "90", "subgroup8")
    assert [path.name for path in tmp_path.glob("*.so")] == ["dlight-0.so"]
    backend: Any = open_backend(probe.devices[0], 1)
    library = tmp_path / "dlight-0.so"
    assert compare_dlight.measured_us(backend, library, product, "float16", 1) > 0
    backend.close()


def test_a_folder_for_another_kind_of_device_is_refused(tmp_path: Path) -> None:
    dlight_products.build([], tmp_path, "float16", "cuda", "90a", "")
    with pytest.raises(SystemExit, match="was built for cuda, not for vulkan"):
        compare_dlight.compare(tmp_path, tmp_path / "none", "vulkan", 1)


def test_a_wrong_result_is_told_from_rounding() -> None:
    product = WeightProduct(4, False, 8, 32)
    arrays = [np.zeros((8, 4), np.uint32), np.ones((8, 1), np.float16)]
    x = np.ones(32, np.float32)
    assert product.worst_error(np.full(8, -256.0), x, arrays) == 0
    assert product.worst_error(np.full(8, -250.0), x, arrays) > compare_dlight._TOLERANCE


def test_dlights_function_is_compiled_for_nvidia() -> None:
    product = WeightProduct(4, False, 48, 64)
    assert dlight_products.compiled(product, "float16", "cuda", "90a", "")[:4] == b"\x7fELF"
