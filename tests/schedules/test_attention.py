from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.attention import decode_attention, prefill_attention, query_tile
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.cpu.tiles import ATTENTION_REGISTER_ROWS, ROW_TILE
from tests.numeric_gates import FP32, nmse
from tests.schedules.attention_data import AttentionData
from tests.schedules.cases import ATTENTIONS, BATCHES, LENGTHS, AttentionCase
from tests.schedules.kernel_runner import HOST_PROFILES, build, skip_unless_host_runs


def prefill_kernel(profile: str, case: AttentionCase) -> Any:
    tile = query_tile(case.shape, ATTENTION_REGISTER_ROWS[profile], ROW_TILE)
    return prefill_attention(Rows(ROW_TILE), replace(case.shape, query_tile=tile))


def chunk_up_to(last: int) -> list[int]:
    """Return the positions of a chunk of two tiles at most that ends at `last`, with padding."""
    first = max(0, last - 4)
    positions = list(range(first, last + 1))
    return positions + [-1] * (-len(positions) % ROW_TILE)


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("case", ATTENTIONS, ids=str)
def test_prefill_and_decode_keep_the_gate_and_give_the_same_bits(
    profile: str, case: AttentionCase
) -> None:
    skip_unless_host_runs(profile)
    batches = BATCHES if case is ATTENTIONS[0] else (1, 4)
    functions = {f"decode_{batch}": decode_attention(batch, case.shape) for batch in batches}
    built = build(profile, functions | {"prefill": prefill_kernel(profile, case)})
    data = AttentionData(case)
    singles = {}
    for length in LENGTHS:
        last = length - 1
        single = data.run(built["decode_1"], [last], prefill=False)
        assert nmse(single, data.expected([last])) <= FP32.operator_nmse, length
        chunk = chunk_up_to(last)
        rows = data.run(built["prefill"], chunk, prefill=True)
        assert np.isfinite(rows).all()
        real = [position for position in chunk if position >= 0]
        assert nmse(rows[: len(real)], data.expected(real)) <= FP32.operator_nmse, length
        np.testing.assert_array_equal(rows[len(real) - 1], single[0], err_msg=str(length))
        singles[last] = single[0]
    positions = list(singles)
    for batch in batches[1:]:
        found = data.run(built[f"decode_{batch}"], positions[-batch:], prefill=False)
        for row, position in zip(found, positions[-batch:], strict=True):
            np.testing.assert_array_equal(row, singles[position])


@pytest.mark.parametrize("profile", HOST_PROFILES)
def test_a_row_of_padding_in_a_batch_changes_no_other_row(profile: str) -> None:
    skip_unless_host_runs(profile)
    case = AttentionCase(6, 2, 32, 70)
    data = AttentionData(case)
    functions = {f"decode_{batch}": decode_attention(batch, case.shape) for batch in (1, 4)}
    built = build(profile, functions)
    found = data.run(built["decode_4"], [69, -1, 3, -1], prefill=False)
    for row, position in ((0, 69), (2, 3)):
        alone = data.run(built["decode_1"], [position], prefill=False)
        np.testing.assert_array_equal(found[row], alone[0])
    assert np.isfinite(found).all()


def test_both_profiles_give_the_same_bits() -> None:
    case = AttentionCase(9, 3, 64, 300)
    data = AttentionData(case)
    found = []
    for profile in HOST_PROFILES:
        skip_unless_host_runs(profile)
        built = build(profile, {"kernel": prefill_kernel(profile, case)})
        found.append(data.run(built["kernel"], list(range(296, 300)), prefill=True))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("page_size", [64, 96, 256])
def test_the_size_of_pages_does_not_change_a_bit(profile: str, page_size: int) -> None:
    skip_unless_host_runs(profile)
    case = AttentionCase(4, 2, 16, 200, 32)
    built = build(profile, {"kernel": decode_attention(1, case.shape)})
    data, other = (AttentionData(replace(case, page_size=size)) for size in (32, page_size))
    for position in (0, 31, 32, 127, 128, 199):
        found = other.run(built["kernel"], [position], prefill=False)
        wanted = data.run(built["kernel"], [position], prefill=False)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_flat_and_sharp_attention_keep_the_gate(profile: str, scale: float) -> None:
    skip_unless_host_runs(profile)
    case = AttentionCase(4, 2, 64, 260, 32, "float32")
    data = AttentionData(case)
    data.queries[...] *= np.float32(scale)
    built = build(profile, {"kernel": decode_attention(1, case.shape)})
    found = data.run(built["kernel"], [259], prefill=False)
    # Sharp scores reach some hundreds, whose own rounding in float32 is what then counts.
    assert nmse(found, data.expected([259])) <= FP32.operator_nmse


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["query", "keys", "values"])
def test_what_is_not_finite_shows(profile: str, bad: float, where: str) -> None:
    skip_unless_host_runs(profile)
    case = AttentionCase(2, 1, 16, 200)
    data = AttentionData(case)
    keys, values = data.pages
    page, slot = data.table[150 // 32], 150 % 32
    if where == "query":
        data.queries[199, 0, 3] = bad
    elif where == "keys":
        data.queries[199, 0, 3] = 0.5
        keys[page, 0, 3, slot] = bad
    else:
        values[page, 0, slot, 3] = bad
    functions = {"decode": decode_attention(1, case.shape)}
    built = build(profile, functions | {"prefill": prefill_kernel(profile, case)})
    decoded = data.run(built["decode"], [199], prefill=False)
    chunk = data.run(built["prefill"], [196, 197, 198, 199], prefill=True)
    assert not np.isfinite(decoded[0, 0]).all()
    assert not np.isfinite(chunk[3, 0]).all()
    earlier = data.run(built["decode"], [127], prefill=False)
    assert np.isfinite(earlier).all(), "a later block of tokens is not read"


def test_query_tiles_divide_the_row_tile_and_fit_the_registers() -> None:
    for heads in (1, 3, 4, 8, 40):
        shape = AttentionCase(heads, 1, 16, 1).shape
        for registers in (6, 12):
            tile = query_tile(shape, registers, ROW_TILE)
            assert ROW_TILE % tile == 0
            assert tile == 1 or tile * heads <= registers
