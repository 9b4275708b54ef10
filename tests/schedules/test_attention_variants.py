"""Variants of attention on CPUs: against float64, and bit for bit among kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.cpu.attention import decode_attention, prefill_attention, query_tile
from ferrylm.schedules.cpu.attention_blocks import TOKENS
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.cpu.tiles import ATTENTION_REGISTER_ROWS, ROW_TILE
from tests.numeric_gates import FP32, nmse
from tests.schedules.kernel_runner import HOST_PROFILES, build, skip_unless_host_runs
from tests.schedules.variant_cases import CASES, LENGTH, LENGTHS, VariantCase, VariantData


def kernels(profile: str, case: VariantCase, *batches: int) -> Any:
    """Return decode_B of each batch, and prefill."""
    skip_unless_host_runs(profile)
    tile = query_tile(case.shape, ATTENTION_REGISTER_ROWS[profile], ROW_TILE)
    functions = {f"decode_{batch}": decode_attention(batch, case.shape) for batch in batches}
    functions["prefill"] = prefill_attention(Rows(ROW_TILE), replace(case.shape, query_tile=tile))
    return build(profile, functions)


def chunk(first: int, last: int) -> list[int]:
    positions = list(range(first, last + 1))
    return positions + [-1] * (-len(positions) % ROW_TILE)


# A wider vector changes tiles alone: the last variant shows that.
RUNS = [(HOST_PROFILES[0], case) for case in CASES]
RUNS += [(HOST_PROFILES[1], case) for case in CASES[-1:]]


@pytest.mark.parametrize(("profile", "case"), RUNS, ids=str)
def test_prefill_and_decode_keep_the_gate_and_give_the_same_bits(
    profile: str, case: VariantCase
) -> None:
    built, data = kernels(profile, case, 1, 4), VariantData(case)
    for length in LENGTHS:
        last = length - 1
        single = data.run(built["decode_1"], [last], prefill=False)
        assert nmse(single, data.expected([last])) <= FP32.operator_nmse, length
        rows = data.run(built["prefill"], chunk(max(0, last - 5), last), prefill=True)
        assert np.isfinite(rows).all()
        real = list(range(max(0, last - 5), length))
        assert nmse(rows[: len(real)], data.expected(real)) <= FP32.operator_nmse, length
        np.testing.assert_array_equal(rows[len(real) - 1], single[0], err_msg=str(length))
    whole = data.run(built["prefill"], chunk(0, LENGTH - 1), prefill=True)
    for first, last in ((0, 40), (41, 166), (167, LENGTH - 1)):
        part = data.run(built["prefill"], chunk(first, last), prefill=True)
        np.testing.assert_array_equal(part[: last + 1 - first], whole[first : last + 1])
    four = data.run(built["decode_4"], [LENGTH - 1, -1, 3, 130], prefill=False)
    assert np.isfinite(four).all()
    np.testing.assert_array_equal(four[[0, 2, 3]], whole[[LENGTH - 1, 3, 130]])


@pytest.mark.parametrize("window", [1, 32, 100])
def test_blocks_before_the_window_are_not_read(window: int) -> None:
    case = VariantCase(4, 2, 16, LENGTH, 32, "float16", variant=AttentionVariant(window))
    built, data = kernels(HOST_PROFILES[0], case, 1), VariantData(case)
    for position in (130, 255, 256, LENGTH - 1):
        wanted = data.expected([position])
        first_page = (position - window + 1) // TOKENS  # pages are blocks here
        keys, values = data.pages
        keys[data.table[:first_page]] = np.nan
        values[data.table[:first_page]] = np.nan
        for name, prefill in (("decode_1", False), ("prefill", True)):
            positions = [position, -1, -1, -1] if prefill else [position]
            found = data.run(built[name], positions, prefill=prefill)
            assert nmse(found[:1], wanted) <= FP32.operator_nmse, position


def test_a_window_beyond_the_context_gives_the_bits_of_none() -> None:
    wide = VariantCase(4, 2, 64, LENGTH, 32, "float16", variant=AttentionVariant(LENGTH))
    none = replace(wide, variant=AttentionVariant())
    data, positions = VariantData(none), list(range(LENGTH))
    found = [
        data.run(kernels(HOST_PROFILES[0], case)["prefill"], positions, prefill=True)
        for case in (wide, none)
    ]
    np.testing.assert_array_equal(*found)


def test_a_sink_takes_nothing_or_all_of_the_weights() -> None:
    case = VariantCase(2, 1, 32, 150, 32, "float32", variant=AttentionVariant(sinks=True))
    built, data = kernels(HOST_PROFILES[0], case, 1), VariantData(case)
    plain = VariantData(replace(case, variant=AttentionVariant())).expected([149])
    data.sinks[...] = -200.0
    found = data.run(built["decode_1"], [149], prefill=False)
    assert nmse(found, plain) <= FP32.operator_nmse
    data.sinks[...] = 200.0
    found = data.run(built["decode_1"], [149], prefill=False)
    assert np.abs(found).max() < 1e-30
