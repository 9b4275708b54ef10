from __future__ import annotations

import numpy as np
import pytest

from ferrylm.runtime.manifest import RopeConfig
from ferrylm.runtime.rope import rope_tables
from ferrylm.schedules.cpu.layout import padded
from ferrylm.schedules.cpu.rope import rope_append
from ferrylm.schedules.cpu.rows import Rows
from tests import reference
from tests.numeric_gates import FP32, nmse
from tests.schedules.cases import AttentionCase
from tests.schedules.kernel_runner import (
    HOST_PROFILES,
    build,
    contents,
    shared,
    skip_unless_host_runs,
)

ROPE = RopeConfig("default", 10000.0)
CONTEXT = 96
GAINS = np.random.default_rng(3).uniform(0.5, 2, 256).astype(np.float32)
CASES = (
    AttentionCase(3, 3, 18, 1, 32, "float32"),
    AttentionCase(9, 3, 64, 1, 32, "float16"),
    AttentionCase(8, 1, 80, 1, 64, "float32"),
    AttentionCase(3, 3, 18, 1, 32, "float32", head_norm_eps=1e-2),
    AttentionCase(4, 1, 128, 1, 32, "float16", head_norm_eps=1e-2),
)


def run_step(kernel: object, case: AttentionCase, positions: list[int], tables: np.ndarray):
    """Return qkv (M, heads, D), q, keys, values; pages that are not written hold 9."""
    heads = case.num_heads + 2 * case.num_kv_heads
    qkv = np.zeros((len(positions), padded(heads * case.head_dim)), np.float32)
    generator = np.random.default_rng(0)
    qkv[:, : heads * case.head_dim] = generator.standard_normal(
        (len(positions), heads * case.head_dim)
    )
    cos, sin = rope_tables(ROPE, case.head_dim, CONTEXT, CONTEXT)
    pages, dim, page = int(tables.max()) + 2, case.head_dim, case.page_size
    gains = [GAINS[: 2 * dim]] if case.shape.norms_heads else []
    tensors = shared(
        qkv,
        cos,
        sin,
        np.array(positions, np.int32),
        tables.astype(np.int32),
        np.full((pages, case.num_kv_heads, dim, page), 9, case.kv_dtype),
        np.full((pages, case.num_kv_heads, page, dim), 9, case.kv_dtype),
        *gains,
        np.full((len(positions), case.num_heads, dim), 9, np.float32),
    )
    kernel(*tensors)  # type: ignore[operator]
    keys, values, *_, q = map(contents, tensors[5:])
    return qkv[:, : heads * dim].reshape(len(positions), heads, dim), q, keys, values


def check(case: AttentionCase, positions: list[int], tables: np.ndarray, found: tuple) -> None:
    qkv, q, keys, values = found
    frequencies, scaling = reference.rope_frequencies(ROPE, case.head_dim, CONTEXT)
    places = np.maximum(positions, 0)
    turning = qkv[:, : case.num_heads + case.num_kv_heads].astype(np.float64)
    if case.head_norm_eps is not None:
        own, dim = turning[:, : case.num_heads], case.head_dim
        turning[:, : case.num_heads] = reference.rms_norm(own, GAINS[:dim], case.head_norm_eps)
        own = turning[:, case.num_heads :]
        gains = GAINS[dim : 2 * dim]
        turning[:, case.num_heads :] = reference.rms_norm(own, gains, case.head_norm_eps)
    rotated = reference.rotate(turning, places, frequencies, scaling)
    wanted = rotated[:, : case.num_heads] / np.sqrt(case.head_dim)
    real = [row for row, position in enumerate(positions) if position >= 0]
    assert nmse(q[real], wanted[real]) <= FP32.operator_nmse
    untouched = np.ones((len(keys), case.page_size), bool)
    for row in real:
        table = tables[row] if len(tables) > 1 else tables[0]
        page, slot = table[positions[row] // case.page_size], positions[row] % case.page_size
        untouched[page, slot] = False
        # One rounding to the type of the pages may go the other way after another in float32.
        step = 2 * np.finfo(case.kv_dtype).eps
        np.testing.assert_allclose(
            keys[page, :, :, slot], rotated[row, case.num_heads :], step, step
        )
        value = qkv[row, case.num_heads + case.num_kv_heads :].astype(case.kv_dtype)
        np.testing.assert_array_equal(values[page, :, slot], value)
    assert (keys.transpose(0, 3, 1, 2)[untouched] == 9).all()
    assert (values.transpose(0, 2, 1, 3)[untouched] == 9).all()


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_chunk_is_rotated_and_appended_and_nothing_else_is_written(
    profile: str, case: AttentionCase
) -> None:
    skip_unless_host_runs(profile)
    built = build(profile, {"kernel": rope_append(Rows(4), case.shape, one_sequence=True)})
    tables = np.array([[4, 1, 6]])
    for positions in ([0], [29, 30, 31, 32, 33], list(range(60, 72)), [95]):
        padded_positions = positions + [-1] * (-len(positions) % 4)
        found = run_step(built["kernel"], case, padded_positions, tables)
        check(case, padded_positions, tables, found)


@pytest.mark.parametrize("profile", HOST_PROFILES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_batch_is_rotated_and_appended_and_nothing_else_is_written(
    profile: str, case: AttentionCase
) -> None:
    skip_unless_host_runs(profile)
    tables = np.array([[4, 1, 6], [0, 2, 0], [3, 5, 7], [0, 0, 0]])
    built = build(profile, {"kernel": rope_append(Rows(4, 4), case.shape, one_sequence=False)})
    positions = [70, 0, 31, -1]
    found = run_step(built["kernel"], case, positions, tables)
    check(case, positions, tables, found)
    alone = build(profile, {"kernel": rope_append(Rows(1, 1), case.shape, one_sequence=False)})
    single = run_step(alone["kernel"], case, positions[:1], tables[:1])
    np.testing.assert_array_equal(single[1][0], found[1][0])
