from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan, DecodeTile
from ferrylm.schedules.gpu.tiles import decode_plan, decode_tile
from tests.numeric_gates import FP32, nmse
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu import gpu_data
from tests.schedules.gpu.decode_runner import Decode
from tests.schedules.gpu.machines import CUDA, MACHINES, Machine

# Blocks are of 64 tokens, pages of 32 or 64: ends of pages and blocks, one before and one after.
LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 400)
LONGEST = max(LENGTHS)
CASES = (
    AttentionCase(3, 3, 18, LONGEST, 32),
    AttentionCase(9, 3, 64, LONGEST, 32),
    AttentionCase(8, 2, 80, LONGEST, 64),
    AttentionCase(4, 1, 96, LONGEST, 32, "float32"),
    AttentionCase(7, 1, 128, LONGEST, 64),
)
FEW_SPLITS = DecodeTile(2, heads=4, splits=3, key_unroll=4, value_unroll=2)
NEAR = replace(FEW_SPLITS, near=2)


def staggered(length: int) -> list[int]:
    """Return positions of three sequences, one at its end of `length` tokens, others elsewhere."""
    return [length - 1, (length - 1) * 7 % LONGEST, max(0, length - 2)]


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_decode_keeps_the_gate_at_every_length(case: AttentionCase, machine: Machine) -> None:
    kernel = Decode(case, batch=3, machine=machine)
    for length in LENGTHS:
        positions = staggered(length)
        (out,) = kernel.run(positions)
        expected = kernel.expected(positions)
        assert nmse(out[:, : kernel.width], expected) <= FP32.operator_nmse, length
        assert (out[:, kernel.width :] == 0).all()


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize(
    ("case", "merged"), [(CASES[0], False), (CASES[1], True), (CASES[2], False), (CASES[4], True)]
)
def test_the_result_is_quantized_by_the_workgroup_that_merges_or_by_a_kernel_of_its_own(
    case: AttentionCase, merged: bool, machine: Machine
) -> None:
    kernel = Decode(case, batch=3, machine=machine, parts=2, merged=merged)
    assert kernel.plan.whole_groups or not merged
    for length in (1, 129, LONGEST):
        positions = staggered(length)
        codes, terms = kernel.run(positions)
        found = gpu_data.scaled(codes, terms)
        expected = kernel.expected(positions)
        assert np.abs(found[:, : kernel.width] - expected).max() <= 3e-5 * np.abs(expected).max()
        assert (found[:, kernel.width :] == 0).all()


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_a_short_sequence_has_a_workgroup_for_each_head(
    case: AttentionCase, machine: Machine
) -> None:
    floats = Decode(case, batch=3, machine=machine, tile=NEAR)
    quantized = Decode(case, batch=3, machine=machine, tile=NEAR, parts=2)
    end = NEAR.near * 128 // case.head_dim * floats.plan.threads
    assert end < LONGEST
    for length in (1, end - 1, end, end + 1, LONGEST):
        positions = staggered(length)
        expected = floats.expected(positions)
        (out,) = floats.run(positions)
        assert nmse(out[:, : floats.width], expected) <= FP32.operator_nmse, length
        assert (out[:, floats.width :] == 0).all()
        found = gpu_data.scaled(*quantized.run(positions))
        assert np.abs(found[:, : floats.width] - expected).max() <= 3e-5 * np.abs(expected).max()


def test_a_sequence_has_as_many_workgroups_as_the_tile_says_if_splits_can_see_to_that() -> None:
    tile = DecodeTile(8, workgroups=132)
    for heads, kv_heads, splits in ((32, 8, 16), (14, 2, 32), (32, 32, 4), (256, 256, 1)):
        shape = AttentionCase(heads, kv_heads, 128, 400).shape
        assert DecodePlan(shape, tile, 32).splits == splits, (heads, kv_heads)


def test_heads_too_large_for_two_plans_in_shared_memory_have_one() -> None:
    for heads, kv_heads, head_dim, both in (
        (32, 8, 128, True),
        (16, 8, 256, True),
        (8, 1, 256, False),
    ):
        shape = AttentionCase(heads, kv_heads, head_dim, 400).shape
        plan = DecodePlan(shape, decode_tile(CUDA.dot), 32)
        assert (plan.near is not None) == both, head_dim
        assert plan.shared_bytes + (plan.near.shared_bytes if plan.near else 0) <= 47 << 10


def test_many_sequences_read_keys_once_for_several_heads() -> None:
    llama, qwen = AttentionCase(32, 8, 128, 400).shape, AttentionCase(14, 2, 64, 400).shape
    plans = {
        (shape.num_kv_heads, batch): decode_plan(CUDA.dot, shape, batch)
        for shape in (llama, qwen)
        for batch in (1, 4, 8, 16)
    }
    alone = [which for which, plan in plans.items() if plan.near is not None]
    assert alone == [(8, 1), (8, 4), (2, 1), (2, 4), (2, 8)]


def test_a_head_that_fills_no_group_of_columns_shares_its_workgroup_in_short_sequences() -> None:
    assert DecodePlan(CASES[0].shape, NEAR, 8).near is None
    assert DecodePlan(CASES[1].shape, NEAR, 8).near is not None


@pytest.mark.parametrize("tile", [FEW_SPLITS, NEAR, DecodeTile(4, heads=2), DecodeTile(1, heads=9)])
def test_other_tiles_give_the_same_attention(tile: DecodeTile) -> None:
    kernel = Decode(AttentionCase(9, 1, 32, 420), batch=3, tile=tile)
    ends = [n * kernel.plan.threads for n in (1, 2, 3, 4, 6, 7, 9)]
    for length in (*ends, *(end + 1 for end in ends), 420):
        positions = [length - 1, length // 2, 0]
        (out,) = kernel.run(positions)
        expected = kernel.expected(positions)
        assert nmse(out[:, : kernel.width], expected) <= FP32.operator_nmse, length


def test_splits_cover_every_length_and_are_never_more_than_the_tile_says() -> None:
    plan = DecodePlan(CASES[0].shape, FEW_SPLITS, 8)
    for position in range(-1, 2000):
        blocks = -(-(position + 1) // plan.threads)
        span, count = int(plan.span(position)), int(plan.split_count(position))
        assert count <= plan.splits
        assert (count - 1) * span < max(blocks, 1) <= max(count, 1) * span, position


def test_a_row_of_padding_in_a_batch_changes_no_other_row() -> None:
    kernel = Decode(AttentionCase(6, 2, 32, 150), batch=4)
    (out,) = kernel.run([149, -1, 3, -1])
    expected = kernel.expected([149, -1, 3, -1])
    assert nmse(out[[0, 2], : kernel.width], expected[[0, 2]]) <= FP32.operator_nmse
    assert (out[[1, 3]] == 0).all()


@pytest.mark.parametrize("tile", [None, NEAR], ids=["tile of the device", "near"])
def test_neither_pages_nor_the_batch_change_a_bit(tile: DecodeTile | None) -> None:
    case = AttentionCase(4, 2, 32 if tile else 16, 200, 32)
    one = Decode(case, batch=1, tile=tile)
    others = [
        Decode(replace(case, page_size=page_size), batch=1, tile=tile) for page_size in (96, 256)
    ]
    pair = Decode(case, batch=2, tile=tile)
    for position in (0, 31, 32, 127, 199):
        (wanted,) = one.run([position])
        for other in others:
            np.testing.assert_array_equal(wanted, other.run([position])[0])
        np.testing.assert_array_equal(wanted[0], pair.run([position, 77])[0][0])


def test_ten_runs_give_the_same_bits_whoever_merges() -> None:
    kernel = Decode(AttentionCase(4, 2, 64, 400), batch=2)
    first = kernel.run([399, 250])[0]
    for _ in range(10):
        np.testing.assert_array_equal(first, kernel.run([399, 250])[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["query", "values"])
def test_what_is_not_finite_shows_and_a_later_token_is_not_read(bad: float, where: str) -> None:
    case = AttentionCase(2, 1, 16, 200)
    kernel = Decode(case, batch=1)
    data = kernel.data[0]
    if where == "query":
        data.queries[199, 0, 3] = bad
    else:
        kernel.pages[1][data.table[150 // 32], 0, 150 % 32, 3] = bad
    assert not np.isfinite(kernel.run([199])[0]).all()
    assert np.isfinite(kernel.run([100])[0]).all()
    assert np.isfinite(kernel.run([149])[0]).all()
