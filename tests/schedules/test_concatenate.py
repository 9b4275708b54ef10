from __future__ import annotations

import numpy as np
import pytest

from ferrylm.runtime.device_tensors import aligned_zeros
from ferrylm.schedules.concatenate import concatenate
from ferrylm.schedules.cpu.activations import norm, norm_quantize
from ferrylm.schedules.cpu.kernels import CpuKernels
from ferrylm.schedules.cpu.layout import groups, padded
from ferrylm.schedules.cpu.profile import PROFILES
from tests.schedules.cases import EPSILON, AttentionCase, MatmulCase
from tests.schedules.kernel_runner import (
    HOST_PROFILES,
    build,
    contents,
    run,
    shared,
    skip_unless_host_runs,
)
from tests.schedules.matmul_data import MatmulData

ROWS = 8


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("arithmetic", ["f32", "int8", "int16"])
@pytest.mark.parametrize("batch", [1, 8, None])
def test_one_kernel_of_two_gives_the_bits_of_the_two(
    profile: str, arithmetic: str, batch: int | None
) -> None:
    skip_unless_host_runs(profile)
    case = MatmulCase(72, 100, "q4", True, arithmetic, "plain")
    data = MatmulData(case, ROWS)
    kernels = CpuKernels(PROFILES[profile], arithmetic, AttentionCase(2, 1, 16, 1).shape)
    rows, count, width = kernels.rows(batch), batch or ROWS, case.columns
    product = kernels._scheduled_matmul(rows, case.format, case.epilogue)
    if arithmetic == "f32":
        first, links, inside = norm(rows, width, EPSILON), {"x": "y"}, ("y",)
        between = [np.empty((count, padded(width)), np.float32)]
    else:
        parts = case.format.parts
        first = norm_quantize(rows, width, EPSILON, parts)
        links, inside = {"x_codes": "codes", "x_terms": "terms"}, ("codes", "terms")
        codes = np.empty((count, groups(width), 32 * parts), np.int8)
        between = [codes, np.empty((count, groups(width), 2), np.float32)]
    both = concatenate(first, product, links, inside)
    built = build(profile, {"first": first, "product": product, "both": both})
    generator = np.random.default_rng(0)
    x, gain = aligned_zeros((count, padded(width)), "float32"), np.ones(width, np.float32)
    x[:, :width] = generator.standard_normal((count, width))
    tensors = shared(x, gain, *between)
    built["first"](*tensors)
    weights = list(data.packed.values())
    tiles = [count // rows.tile] if rows.count is None else []
    shape = (count, data.width)
    middle = [contents(tensor) for tensor in tensors[2:]]
    wanted = run(built["product"], [*tiles, *middle, *weights], shape, "float32")
    found = run(built["both"], [*tiles, x, gain, *weights], shape, "float32")
    np.testing.assert_array_equal(found, wanted)
