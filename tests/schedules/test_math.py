from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm.script import tirx as T

from ferrylm.schedules import math as kernel_math
from tests import reference
from tests.schedules.kernel_runner import HOST_PROFILES, build, run, skip_unless_host_runs

pytestmark = pytest.mark.parametrize("profile", HOST_PROFILES)


def apply(profile: str, function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    skip_unless_host_runs(profile)
    count = len(x)

    @T.prim_func(s_tir=True, private=True)
    def kernel(x: T.Buffer((count,), "float32"), y: T.Buffer((count,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for i in T.serial(count // 16):
            for lane in T.vectorized(16):
                y[i * 16 + lane] = function(x[i * 16 + lane])

    return run(build(profile, {"kernel": kernel})["kernel"], [x], (count,), "float32")


def test_the_exponential_is_within_its_bound(profile: str) -> None:
    x = np.linspace(-87, 88, 1 << 20, dtype=np.float32)
    x[:4] = (0.0, -0.0, 1e-30, -1e-30)
    wanted = np.exp(x.astype(np.float64))
    error = np.abs(apply(profile, kernel_math.exp, x) / wanted - 1)
    assert error.max() < 2**-22


def test_the_exponential_is_finite_and_tiny_or_huge_outside_of_its_range(profile: str) -> None:
    x = np.repeat(np.array([-1e30, -1000, -88, 89, 1000, 1e30, -np.inf, np.inf], np.float32), 2)
    found = apply(profile, kernel_math.exp, x)
    assert np.isfinite(found).all()
    assert (found[x < 0] <= 2.0**-125).all()
    assert (found[x > 0] >= 2.0**126).all()


def test_silu_is_that_of_float64(profile: str) -> None:
    x = np.concatenate(
        [np.linspace(-80, 80, 1 << 18, dtype=np.float32), np.float32(10) ** np.arange(-30, 34)]
    ).astype(np.float32)
    wanted = reference.silu(x)
    found = apply(profile, kernel_math.silu, x)
    assert (np.abs(found - wanted) <= 1e-6 * np.abs(wanted)).all()


@pytest.mark.parametrize("name", ["exp", "silu"])
def test_no_number_stays_no_number(profile: str, name: str) -> None:
    x = np.zeros(32, np.float32)
    x[7] = x[20] = np.nan
    found = apply(profile, getattr(kernel_math, name), x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))


def test_the_hyperbolic_tangent_is_within_its_bound(profile: str) -> None:
    small = np.float32(10) ** np.arange(-30, 2)
    x = np.concatenate([np.linspace(-12, 12, 1 << 18), small, -small]).astype(np.float32)
    wanted = np.tanh(x.astype(np.float64))
    found = apply(profile, kernel_math.tanh, x)
    assert np.abs(found / wanted - 1).max() < 2**-21


def test_the_hyperbolic_tangent_of_what_is_huge_is_one_and_of_no_number_none(profile: str) -> None:
    x = np.repeat(np.array([-np.inf, -1e30, -100, 100, 1e30, np.inf, np.nan, 0], np.float32), 2)
    found = apply(profile, kernel_math.tanh, x)
    np.testing.assert_array_equal(found[:12], np.sign(x[:12]))
    assert np.isnan(found[12:14]).all()
    assert (found[14:] == 0).all()


def test_gelu_is_its_definition_and_falls_to_nothing_on_the_left(profile: str) -> None:
    x = np.linspace(-20, 20, 1 << 16, dtype=np.float32)
    found = apply(profile, kernel_math.gelu, x)
    np.testing.assert_allclose(found, reference.gelu(x), rtol=2e-6, atol=2e-7)
    far = np.repeat(np.array([-1e30, -1e4, 1e4, 1e30], np.float32), 4)
    np.testing.assert_allclose(apply(profile, kernel_math.gelu, far), np.maximum(far, 0), atol=1e-3)
