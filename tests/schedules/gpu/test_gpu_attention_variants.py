"""Variants of attention on GPUs against float64: decode steps, and prompts in float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan, DecodeTile
from ferrylm.schedules.gpu.attention_plan import BLOCK
from tests.numeric_gates import FP32, nmse
from tests.schedules.gpu import gpu_data
from tests.schedules.gpu.decode_runner import Decode
from tests.schedules.gpu.machines import CUDA, MACHINES, VULKAN, Machine
from tests.schedules.variant_cases import CASES, LENGTH, VariantCase

LENGTHS = (1, 33, 65, 129, 193, LENGTH)  # ends of blocks of pages and of workgroups
FEW_SPLITS = DecodeTile(2, heads=4, splits=3, key_unroll=4, value_unroll=2)
# Drivers take long over large heads; what an emulator runs is compiled sooner.
RUNS = [(VULKAN if case.head_dim < 64 else CUDA, case) for case in CASES]


@pytest.mark.parametrize(("machine", "case"), RUNS, ids=str)
def test_decode_keeps_the_gate_at_every_length(machine: Machine, case: VariantCase) -> None:
    kernel = Decode(case, batch=3, machine=machine)
    for length in LENGTHS:
        positions = [length - 1, (length - 1) * 7 % LENGTH, -1]
        (out,) = kernel.run(positions)
        expected = kernel.expected(positions)
        assert nmse(out[:, : kernel.width], expected) <= FP32.operator_nmse, length
        assert (out[:, kernel.width :] == 0).all()
        assert (out[2] == 0).all()


@pytest.mark.parametrize(("near", "merged"), [(0, True), (0, False), (3, True)])
def test_many_splits_of_a_window_are_merged_and_a_sink_counts_once(near: int, merged: bool) -> None:
    variant = AttentionVariant(window_tokens=90, soft_cap=2.0, sinks=True)
    case = VariantCase(9, 3, 64, LENGTH, 32, "float16", variant=variant)
    tile = replace(FEW_SPLITS, near=near)  # with it a window of few blocks is not split
    kernel = Decode(case, batch=2, tile=tile, parts=2, merged=merged)
    for length in (1, 17, 90, 91, 300, LENGTH):
        positions = [length - 1, LENGTH - length]
        codes, terms = kernel.run(positions)
        found, expected = gpu_data.scaled(codes, terms), kernel.expected(positions)
        assert np.abs(found[:, : kernel.width] - expected).max() <= 3e-5 * np.abs(expected).max()


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("window", [1, 32, 100])
def test_blocks_before_the_window_are_not_read(window: int, machine: Machine) -> None:
    case = VariantCase(4, 2, 16, LENGTH, 32, "float16", variant=AttentionVariant(window))
    kernel = Decode(case, batch=1, machine=machine)
    for position in (130, 256, LENGTH - 1):
        wanted = kernel.expected([position])
        kept = [pool.copy() for pool in kernel.pages]
        before = kernel.data[0].table[: (position - window + 1) // BLOCK]  # pages are blocks here
        for pool in kernel.pages:
            pool[before] = np.nan
        (out,) = kernel.run([position])
        assert nmse(out[:, : kernel.width], wanted) <= FP32.operator_nmse, position
        kernel.pages = kept


def test_neither_pages_nor_the_batch_change_a_bit() -> None:
    variant = AttentionVariant(window_tokens=75, soft_cap=2.0, alibi=True, sinks=True)
    case = VariantCase(4, 2, 16, 200, 32, "float16", variant=variant)
    one, pair = Decode(case, batch=1), Decode(case, batch=2)
    other = Decode(replace(case, page_size=96), batch=1)
    for position in (0, 31, 75, 127, 199):
        (wanted,) = one.run([position])
        np.testing.assert_array_equal(wanted, other.run([position])[0])
        np.testing.assert_array_equal(wanted[0], pair.run([position, 77])[0][0])


@pytest.mark.parametrize("subgroup", [8, 32, 64])
def test_splits_cover_the_window_alone_and_are_never_more_than_are_launched(subgroup: int) -> None:
    for window in (1, 7, 64, 100, 1000):
        case = VariantCase(4, 2, 64, 1, 32, "float16", variant=AttentionVariant(window))
        plan = DecodePlan(case.shape, FEW_SPLITS, subgroup)
        for position in range(-1, 1500):
            first = int(plan.first(position))
            seen = max(0, position - window + 1)
            assert first % BLOCK == 0
            assert seen - BLOCK < first <= seen
            blocks = -(-(position + 1 - first) // plan.threads)
            span, count = int(plan.span(position)), int(plan.split_count(position))
            assert count <= int(plan.launched_splits(1504 // BLOCK, BLOCK))
            assert (count - 1) * span < max(blocks, 1) <= max(count, 1) * span, position
