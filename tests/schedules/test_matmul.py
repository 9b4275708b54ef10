from __future__ import annotations

import numpy as np
import pytest

from ferrylm.schedules.cpu.kernels import CpuKernels
from ferrylm.schedules.cpu.layout import WeightFormat
from ferrylm.schedules.cpu.matmul import matmul
from ferrylm.schedules.cpu.matmul_schedule import MatmulTile, fitting
from ferrylm.schedules.cpu.profile import PROFILES
from ferrylm.schedules.cpu.rows import Rows
from tests.numeric_gates import FP32, nmse
from tests.schedules.cases import BATCHES, CAP, FORMATS, MATMULS, AttentionCase, MatmulCase
from tests.schedules.kernel_runner import (
    DOT_PROFILES,
    HOST_PROFILES,
    build,
    missing_features,
    run,
    skip_unless_host_runs,
)
from tests.schedules.matmul_data import MatmulData, terms_of

INTEGERS = [found for found in FORMATS if found[2] != "f32"]
ROWS = 12  # three tiles of prefill
TRIED = [(profile, case) for profile in HOST_PROFILES for case in MATMULS] + [
    ("x86-64-v3-vnni", case)
    for case in MATMULS
    if case.arithmetic != "f32" and case.epilogue != "residual"
]


def cpu_kernels(profile: str, arithmetic: str = "int8") -> CpuKernels:
    return CpuKernels(PROFILES[profile], arithmetic, AttentionCase(2, 1, 16, 1).shape)


def results(profile: str, data: MatmulData, batches: tuple[int | None, ...]) -> dict:
    """Run all rows through the kernel of each batch, batch rows at a time; None is prefill."""
    kernels, case = cpu_kernels(profile), data.case
    functions = {
        f"batch_{batch}": kernels._scheduled_matmul(
            kernels.rows(batch), case.format, case.epilogue, CAP
        )
        for batch in batches
    }
    built = build(profile, functions)
    found = {}
    for batch in batches:
        rows, step = kernels.rows(batch), batch or data.count
        shape = (step, data.width)
        parts = [
            run(built[f"batch_{batch}"], data.arguments(rows, i, step), shape, "float32")
            for i in range(0, data.count - step + 1, step)
        ]
        found[batch] = np.concatenate(parts)
    return found


@pytest.mark.parametrize(("profile", "case"), TRIED, ids=str)
def test_every_batch_keeps_the_gate_and_gives_a_row_the_same_bits(
    profile: str, case: MatmulCase
) -> None:
    skip_unless_host_runs(profile)
    data = MatmulData(case, ROWS)
    batches = BATCHES if case.epilogue == "plain" else (1, 4)
    found = results(profile, data, (*batches, None))
    expected = data.expected()
    assert nmse(found[None][:, : data.outputs], expected) <= FP32.matmul_nmse
    for batch in batches:
        np.testing.assert_array_equal(found[batch], found[None][: len(found[batch])])


@pytest.mark.parametrize("profile", DOT_PROFILES)
@pytest.mark.parametrize(("storage", "minimum", "arithmetic"), INTEGERS)
def test_codes_at_their_limits_neither_saturate_nor_wrap(
    profile: str, storage: str, minimum: bool, arithmetic: str
) -> None:
    skip_unless_host_runs(profile)
    data = MatmulData(MatmulCase(64, 128, storage, minimum, arithmetic), 4)
    extremes = (0x00, 0xFF) if storage == "q4" else (0x80, 0x7F)
    canonical = {**data.canonical, "codes": np.empty_like(data.canonical["codes"])}
    canonical["codes"].view(np.uint8)[:32] = extremes[0]
    canonical["codes"].view(np.uint8)[32:] = extremes[1]
    codes = np.full((4, 4, 32 * data.case.format.parts), 127, np.int8)
    codes[1::2] = -127
    data.__dict__.update(
        canonical=canonical, activations=[codes, terms_of(codes, np.ones((4, 4), np.float32))]
    )
    found = results(profile, data, (1, None))
    for batch in found:
        assert nmse(found[batch], data.expected()) <= FP32.matmul_nmse


AGREEING = [case for case in MATMULS if (case.rows, case.columns) == (1001, 100)]


@pytest.mark.parametrize("case", AGREEING, ids=str)
def test_all_profiles_give_the_same_bits(case: MatmulCase) -> None:
    data = MatmulData(case, ROWS, seed=7)
    able = [profile for profile in DOT_PROFILES if not missing_features(profile)]
    if len(able) < 2:
        pytest.skip("this machine runs one profile at most")
    narrow, *others = (results(profile, data, (None,))[None] for profile in able)
    for other in others:
        if case.storage == "q8" and case.arithmetic != "f32":
            # VPDPBUSD takes unsigned bytes: the codes are biased by 128, taken off in f32.
            assert nmse(narrow[:, : data.outputs], other[:, : data.outputs]) <= 1e-11
        else:
            np.testing.assert_array_equal(narrow, other)


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("arithmetic", ["int8", "int16", "f32"])
def test_a_row_that_is_not_finite_stays_so_and_leaves_the_others_alone(
    profile: str, bad: float, arithmetic: str
) -> None:
    skip_unless_host_runs(profile)
    data = MatmulData(MatmulCase(40, 96, "q4", True, arithmetic), ROWS)
    clean = results(profile, data, (None,))[None]
    data.activations[-1][5].reshape(-1)[0] = bad
    found = results(profile, data, (None,))[None]
    assert not np.isfinite(found[5, :40]).any()
    others = np.arange(ROWS) != 5
    np.testing.assert_array_equal(found[others], clean[others])


@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 36, 63])
@pytest.mark.parametrize("row_blocks", [1, 2, 4, 8])
def test_a_fitting_tile_divides_the_blocks(blocks: int, row_blocks: int) -> None:
    fmt = WeightFormat(16 * blocks, 32, "q4", False, "int8")
    tile = fitting(MatmulTile(row_blocks, 1), fmt, pairs=False)
    assert blocks % tile.row_blocks == 0
    assert tile.row_blocks <= row_blocks
    both = WeightFormat(32 * blocks, 32, "q4", False, "int8", pairs=True)
    paired = fitting(MatmulTile(row_blocks, 1), both, pairs=True)
    assert paired.row_blocks % 2 == 0
    assert 2 * blocks % paired.row_blocks == 0


def test_what_no_kernel_computes_is_refused() -> None:
    for storage, arithmetic in (("f16", "int8"), ("f32", "int8"), ("q5", "f32"), ("q4", "f16")):
        with pytest.raises(ValueError, match=r"weights|unknown"):
            WeightFormat(16, 32, storage, False, arithmetic)
    with pytest.raises(ValueError, match="unknown epilogue"):
        matmul(Rows(1, 1), WeightFormat(16, 32, "f32", False, "f32"), "gelu")
    with pytest.raises(ValueError, match="no whole number of tiles"):
        Rows(4, 6)
    with pytest.raises(ValueError, match="below 1"):
        MatmulTile(0, 1)
