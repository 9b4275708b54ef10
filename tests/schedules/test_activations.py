from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.activations import norm, norm_add, norm_quantize, quantize
from ferrylm.schedules.cpu.layout import groups, padded
from ferrylm.schedules.cpu.rows import Rows
from tests import reference
from tests.numeric_gates import FP32, nmse
from tests.schedules.cases import EPSILON, WIDTHS
from tests.schedules.kernel_runner import (
    HOST_PROFILES,
    build,
    contents,
    shared,
    skip_unless_host_runs,
)
from tests.schedules.matmul_data import GARBAGE, terms_of, values_of

ROWS = 12
LARGEST = {1: 127, 2: 127 * 254 + 126}
Array = np.ndarray

pytestmark = pytest.mark.parametrize("profile", HOST_PROFILES)


def rows_of(batch: int | None) -> Rows:
    return Rows(4) if batch is None else Rows(min(batch, 4), batch)


def activations(width: int, seed: int = 0) -> Array:
    """Return float32 rows of sizes from 1e-20 to 1e9, with garbage in the columns of padding."""
    generator = np.random.default_rng(seed)
    x = np.full((ROWS, padded(width)), GARBAGE)
    x[:, :width] = generator.standard_normal((ROWS, width))
    x[:, :width] *= np.float32(10) ** np.linspace(-20, 9, ROWS, dtype=np.float32)[:, None]
    return x


def quantized(function: Any, inputs: list[Array], width: int, parts: int) -> tuple[Array, Array]:
    count = len(inputs[0])
    codes = np.full((count, groups(width), 32 * parts), 0x5A, np.int8)
    terms = np.full((count, groups(width), 2), GARBAGE)
    tensors = shared(*inputs, codes, terms)
    function(*tensors)
    return contents(tensors[-2]).copy(), contents(tensors[-1]).copy()


def quantize_float32(x: Array, parts: int) -> tuple[Array, Array]:
    """Do in numpy's float32 what the kernel does; every step is one IEEE operation."""
    padding = -x.shape[1] % 32
    grouped = np.pad(x, ((0, 0), (0, padding))).reshape(len(x), -1, 32)
    largest = np.abs(grouped).max(axis=2)
    factor = np.float32(LARGEST[parts]) / np.maximum(largest, np.float32(1e-30))
    values = np.rint(grouped * factor[:, :, None]).astype(np.int32)
    if parts == 1:
        codes = values
    else:
        high = np.rint(values.astype(np.float32) * np.float32(1 / 254)).astype(np.int32)
        codes = np.concatenate([high, values - 254 * high], axis=2)
    assert np.abs(codes).max() <= 127
    codes = codes.astype(np.int8)
    return codes, terms_of(codes, largest * np.float32(1 / LARGEST[parts]))


@pytest.mark.parametrize("width", WIDTHS)
def test_norm_keeps_the_gate_in_every_batch(profile: str, width: int) -> None:
    skip_unless_host_runs(profile)
    built = build(profile, {f"norm_{b}": norm(rows_of(b), width, EPSILON) for b in (None, 1, 8)})
    x, gain = activations(width), np.linspace(-1, 2, width, dtype=np.float32)
    tensors = shared(x, gain, np.full_like(x, GARBAGE))
    built["norm_None"](*tensors)
    found = contents(tensors[2])
    for row, wanted in zip(found, reference.rms_norm(x[:, :width], gain, EPSILON), strict=True):
        assert nmse(row[:width], wanted) <= FP32.operator_nmse
    assert not found[:, width:].any(), "columns of padding are zero"
    for batch in (1, 8):
        part = shared(x[:batch], gain, np.full_like(x[:batch], GARBAGE))
        built[f"norm_{batch}"](*part)
        np.testing.assert_array_equal(contents(part[2]), found[:batch])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("width", WIDTHS)
def test_quantize_equals_its_twin_bit_for_bit(profile: str, width: int, parts: int) -> None:
    skip_unless_host_runs(profile)
    built = build(
        profile, {f"quantize_{b}": quantize(rows_of(b), width, parts) for b in (None, 1, 8)}
    )
    x = activations(width)
    x[3, :32] = 0
    x[4, :width] = 0
    x[5, :width] = np.tile([3.5, -3.5], width // 2 + 1)[:width]
    codes, terms = quantized(built["quantize_None"], [x], width, parts)
    wanted_codes, wanted_terms = quantize_float32(x[:, :width], parts)
    np.testing.assert_array_equal(codes, wanted_codes)
    np.testing.assert_array_equal(terms, wanted_terms)
    for batch in (1, 8):
        part = quantized(built[f"quantize_{batch}"], [x[:batch]], width, parts)
        np.testing.assert_array_equal(part[0], codes[:batch])
        np.testing.assert_array_equal(part[1], terms[:batch])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("width", WIDTHS)
def test_norm_quantize_is_norm_then_quantize(profile: str, width: int, parts: int) -> None:
    skip_unless_host_runs(profile)
    functions = {f"fused_{b}": norm_quantize(rows_of(b), width, EPSILON, parts) for b in (None, 1)}
    functions |= {
        "norm": norm(Rows(4), width, EPSILON),
        "quantize": quantize(Rows(4), width, parts),
    }
    built = build(profile, functions)
    x, gain = activations(width), np.linspace(-1, 2, width, dtype=np.float32)
    codes, terms = quantized(built["fused_None"], [x, gain], width, parts)
    plain = shared(x, gain, np.empty_like(x))
    built["norm"](*plain)
    wanted = quantized(built["quantize"], [contents(plain[2])], width, parts)
    np.testing.assert_array_equal(codes, wanted[0])
    np.testing.assert_array_equal(terms, wanted[1])
    one = quantized(built["fused_1"], [x[2:3], gain], width, parts)
    np.testing.assert_array_equal(one[0], codes[2:3])
    np.testing.assert_array_equal(one[1], terms[2:3])
    restored = (values_of(codes) * terms[:, :, :1].astype(np.float64)).reshape(ROWS, -1)
    error = np.abs(restored[:, :width] - reference.rms_norm(x[:, :width], gain, EPSILON))
    allowed = np.repeat(terms[:, :, 0], 32, axis=1)[:, :width] * (0.5 + LARGEST[parts] * 1e-6)
    assert (error <= allowed).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kernel", ["quantize", "norm_quantize"])
def test_one_value_that_is_not_finite_shows_in_the_terms(
    profile: str, bad: float, parts: int, kernel: str
) -> None:
    skip_unless_host_runs(profile)
    width = 100
    gain = np.ones(width, np.float32)
    if kernel == "quantize":
        function, extra = quantize(Rows(4), width, parts), []
    else:
        function, extra = norm_quantize(Rows(4), width, EPSILON, parts), [gain]
    built = build(profile, {"kernel": function})
    for column in (0, 5, 15, 16, 31, 32, 47, 99):
        x = np.full((4, padded(width)), np.float32(1))
        x[2, column] = bad
        _, terms = quantized(built["kernel"], [x, *extra], width, parts)
        assert not np.isfinite(terms[2, column // 32]).all(), column
        assert np.isfinite(terms[[0, 1, 3]]).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_normalized_product_is_added_to_the_residual(profile: str, width: int) -> None:
    skip_unless_host_runs(profile)
    built = build(profile, {f"f_{b}": norm_add(rows_of(b), width, EPSILON) for b in (None, 1)})
    generator = np.random.default_rng(4)
    x, residual = (np.zeros((ROWS, padded(width)), np.float32) for _ in range(2))
    x[:, :width] = generator.standard_normal((ROWS, width))
    residual[:, :width] = generator.standard_normal((ROWS, width))
    gain = generator.standard_normal(width).astype(np.float32)
    wanted = residual[:, :width] + reference.rms_norm(x[:, :width], gain, EPSILON)
    for batch, count in ((None, ROWS), (1, 1)):
        out = np.full((count, padded(width)), GARBAGE)
        tensors = shared(x[:count], gain, residual[:count], out)
        built[f"f_{batch}"](*tensors)
        found = contents(tensors[-1])
        assert nmse(found[:, :width], wanted[:count]) <= FP32.operator_nmse
        assert (found[:, width:] == 0).all()
