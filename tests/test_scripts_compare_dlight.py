"""scripts/compare_dlight.py: that it finds the products of a step, and computes what they do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_measurements import measurement

from ferrylm.runtime.backends import open_backend, probe_kind
from ferrylm.runtime.device_bandwidth import DeviceBandwidth

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_dlight.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("compare_dlight", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_dlight"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


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
def test_a_product_is_known_by_its_name(script: Any, name: str, found: Any) -> None:
    assert script.product_of(name) == (None if found is None else script.Product(*found))


def test_products_are_those_of_decode_steps(script: Any) -> None:
    found = script._products(measurement().steps)
    assert {(product.rows, product.columns) for product, _ in found} == {
        (96, 64), (64, 64), (500, 64),
    }  # fmt: skip


@pytest.mark.parametrize(("bits", "minimum"), [(4, False), (4, True), (8, False)])
def test_dlights_function_is_checked_and_timed(script: Any, bits: int, minimum: bool) -> None:
    probe = probe_kind("vulkan")
    if not probe.devices:
        pytest.skip(f"no Vulkan device: {probe.problem}")
    backend: Any = open_backend(probe.devices[0], 1)
    product = script.Product(bits, minimum, 48, 64)
    code = script.compiled(product, "float16", "vulkan", "90", "subgroup8")
    copied = tuple(backend.upload(np.zeros(64, np.uint8)) for _ in range(2))
    busy = DeviceBandwidth(1.0, "made up", copied)
    assert script.measured_us(backend, code, product, "float16", 1, busy) > 0
    backend.close()


def test_a_wrong_result_ends_the_comparison(script: Any) -> None:
    product = script.Product(4, False, 8, 32)
    arrays = [np.zeros((8, 4), np.uint32), np.ones((8, 1), np.float16)]
    x = np.ones((1, 32), np.float32)
    script._check(np.full((1, 8), -256.0), x, arrays, product)
    with pytest.raises(SystemExit, match="is off by"):
        script._check(np.full((1, 8), -250.0), x, arrays, product)


def test_dlights_function_is_compiled_for_nvidia(script: Any) -> None:
    product = script.Product(4, False, 48, 64)
    assert script.compiled(product, "float16", "cuda", "90a", "")[:4] == b"\x7fELF"
