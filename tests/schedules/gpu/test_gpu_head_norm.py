"""Norms of query and key heads within attention of a decode step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests import reference
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu.decode_runner import Decode, head_gains
from tests.schedules.gpu.machines import CUDA, VULKAN, Machine

EPS = 1e-2
# Heads that are no whole number of vectors, of which a lane has several pairs, that straddle
# workgroups of a KV head.
CASES = (
    AttentionCase(6, 2, 18, 300, head_norm_eps=EPS),
    AttentionCase(8, 1, 128, 200, head_norm_eps=EPS),
    AttentionCase(5, 1, 80, 200, head_norm_eps=EPS),
)


TRIED = [*((VULKAN, case) for case in CASES), (CUDA, CASES[1])]


@pytest.mark.parametrize(("machine", "case"), TRIED, ids=str)
def test_heads_are_normalized_before_they_are_rotated(
    machine: Machine, case: AttentionCase
) -> None:
    dim, heads, turned = case.head_dim, case.num_heads, case.num_heads + case.num_kv_heads
    positions = [case.tokens - 1, 64, 0, -1]
    normed = Decode(case, batch=4, machine=machine)
    plain = Decode(replace(case, head_norm_eps=None), batch=4, machine=machine)
    width = (heads + 2 * case.num_kv_heads) * dim
    raw = plain._qkv(positions)
    raw[:, :width] = 3 * np.random.default_rng(1).standard_normal((4, width))
    split, gains = raw[:, :width].reshape(4, -1, dim).astype(np.float64), head_gains(dim)
    split[:, :heads] = reference.rms_norm(split[:, :heads], gains[:dim], EPS)
    split[:, heads:turned] = reference.rms_norm(split[:, heads:turned], gains[dim:], EPS)
    done = raw.copy()
    done[:, :width] = split.reshape(4, -1)
    (found,), (wanted,) = normed.run(positions, qkv=raw), plain.run(positions, qkv=done)
    # Keys are rounded to the pages' type after another rounding of their norm.
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    (unlike,) = plain.run(positions, qkv=raw)
    assert np.abs(unlike - wanted).max() > 0.1, "the norm makes a difference here"
