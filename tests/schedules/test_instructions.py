"""Which instructions the kernels of a profile are made of."""

from __future__ import annotations

import re
from functools import cache

import pytest

from ferrylm.schedules.cpu.activations import norm_quantize
from ferrylm.schedules.cpu.attention import decode_attention
from ferrylm.schedules.cpu.kernels import CpuKernels
from ferrylm.schedules.cpu.profile import PROFILES
from tests.schedules.cases import EPSILON, AttentionCase, MatmulCase
from tests.schedules.kernel_runner import assembly

AVX512 = re.compile(r"%zmm|%k[0-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b")


@cache
def code(profile: str) -> str:
    """Return the assembly of a few kernels of each kind."""
    kernels = CpuKernels(PROFILES[profile], "int16", AttentionCase(4, 2, 64, 1).shape)
    functions = {
        f"matmul_{storage}_{arithmetic}_{batch}": kernels._scheduled_matmul(
            kernels.rows(batch), MatmulCase(64, 128, storage, False, arithmetic).format, "plain"
        )
        for storage in ("q4", "q8")
        for arithmetic in ("int8", "int16", "f32")
        for batch in (1, None)
    }
    functions["norm_quantize"] = norm_quantize(kernels.rows(1), 128, EPSILON, 2)
    functions["attention"] = decode_attention(1, kernels.shape)
    return assembly(profile, functions)


def instructions(profile: str) -> set[str]:
    return set(re.findall(r"^\t([a-z][a-z0-9.]*)\b", code(profile), re.MULTILINE))


def test_avx512_kernels_use_its_byte_products_and_registers() -> None:
    assert "vpdpbusd" in instructions("x86-64-v4-vnni")
    assert "%zmm" in code("x86-64-v4-vnni")


@pytest.mark.parametrize("profile", ["x86-64-v3", "x86-64-v3-vnni"])
def test_avx2_kernels_hold_nothing_of_avx512(profile: str) -> None:
    assert not AVX512.search(code(profile))
    assert {"vfmadd231ps", "vcvtph2ps"} & instructions(profile)


def test_avx2_kernels_multiply_pairs_of_bytes() -> None:
    found = instructions("x86-64-v3")
    assert {"vpmaddubsw", "vpmaddwd"} <= found
    assert not {name for name in found if name.startswith("vpdp")}


def test_avx_vnni_kernels_use_the_byte_product_without_avx512() -> None:
    assert re.search(r"\{vex\}\s+vpdpbusd", code("x86-64-v3-vnni"))


def test_aarch64_kernels_use_the_dot_product() -> None:
    found = instructions("aarch64-dotprod")
    assert "sdot" in found
    assert "fmla" in found


@pytest.mark.parametrize("profile", PROFILES)
def test_kernels_call_no_library_of_mathematics(profile: str) -> None:
    called = set(re.findall(r"\b(?:callq?|bl|b)\s+\*?([A-Za-z_]\w*)", code(profile)))
    known = re.compile(r"_*TVM|_*tvm|mem(cpy|set|move)$|L|matmul|attention|norm")
    assert not {name for name in called if not known.match(name)}
