"""Moves between lanes, executed in numpy by the instructions' definitions in AMD's ISA manuals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ferrylm.compile.rocm.architectures import ARCHITECTURES, Architecture
from ferrylm.compile.rocm.lane_plans import (
    Across,
    Dpp,
    ExchangeRows,
    Move,
    Swizzle,
    butterfly,
    exclusive_or,
)

RDNA, GCN = ARCHITECTURES["gfx10-3-generic"], ARCHITECTURES["gfx9-generic"]
CASES = [(arch, 1 << power) for arch in (RDNA, GCN) for power in range(arch.wave.bit_length())]


def sources(arch: Architecture, move: Move) -> NDArray[np.int64]:
    """Return the lane that each lane reads."""
    lanes = np.arange(arch.wave)
    if isinstance(move, Across):
        return lanes ^ move.mask
    if isinstance(move, ExchangeRows):
        assert arch.lanes == "rdna"
        return lanes // 32 * 32 + (lanes + 16) % 32
    if isinstance(move, Swizzle):
        # ds_swizzle, bit mode: ((lane & and) | or) ^ xor within 32 lanes, the and-mask lowest.
        pattern = move.pattern
        assert pattern >> 15 == 0
        kept = (lanes & 31) & (pattern & 31) | (pattern >> 5 & 31)
        return lanes // 32 * 32 + (kept ^ (pattern >> 10 & 31))
    assert isinstance(move, Dpp)
    return _dpp(arch, move.control, lanes)


def _dpp(arch: Architecture, control: int, lanes: NDArray[np.int64]) -> NDArray[np.int64]:
    row, within = lanes // 16 * 16, lanes % 16
    if control < 0x100:  # quad_perm
        return lanes // 4 * 4 + (control >> 2 * (lanes % 4) & 3)
    if 0x121 <= control <= 0x12F:  # row_ror
        return row + (within - (control & 15)) % 16
    if control == 0x140:  # row_mirror
        return row + 15 - within
    if control == 0x141:  # row_half_mirror
        return lanes // 8 * 8 + 7 - lanes % 8
    assert control & ~15 == 0x160
    assert arch.lanes == "rdna"
    return row + (within ^ (control & 15))


@pytest.mark.parametrize("arch", [RDNA, GCN], ids=["rdna", "gcn"])
def test_every_mask_reads_the_lane_it_names(arch: Architecture) -> None:
    for mask in range(1, arch.wave):
        read = sources(arch, exclusive_or(arch, mask))
        assert np.array_equal(read, np.arange(arch.wave) ^ mask), mask


@pytest.mark.parametrize(("arch", "width"), CASES)
def test_every_lane_of_a_cluster_gets_the_same_sum(arch: Architecture, width: int) -> None:
    rng = np.random.default_rng(width)
    values = rng.standard_normal(arch.wave).astype(np.float32)
    total = values.copy()
    for move in butterfly(arch, width):
        total = total + total[sources(arch, move)]
    clusters = total.reshape(-1, width)
    exact = values.astype(np.float64).reshape(-1, width).sum(axis=1)
    assert np.all(clusters == clusters[:, :1])  # bit for bit
    np.testing.assert_allclose(clusters[:, 0], exact, atol=1e-6 * width)


@pytest.mark.parametrize("width", [0, 3, 64, -4])
def test_clusters_that_are_no_part_of_a_wave_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="clusters"):
        butterfly(RDNA, width)


@pytest.mark.parametrize("mask", [0, 32, -1])
def test_masks_outside_of_the_wave_are_refused(mask: int) -> None:
    with pytest.raises(ValueError, match="mask"):
        exclusive_or(RDNA, mask)
