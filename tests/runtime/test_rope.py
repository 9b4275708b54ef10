from __future__ import annotations

import numpy as np
import pytest

from ferrylm.runtime.manifest import RopeConfig
from ferrylm.runtime.rope import rope_tables
from tests.reference import rope_frequencies
from tests.tiny_llama import ROPES

CONTEXT = 4096


@pytest.mark.parametrize("head_dim", [16, 18, 64, 80, 128])
@pytest.mark.parametrize("name", ROPES)
def test_tables_are_those_of_float64_rounded_once(name: str, head_dim: int) -> None:
    rope = ROPES[name]
    cos, sin = rope_tables(rope, head_dim, CONTEXT, CONTEXT)
    frequencies, scale = rope_frequencies(rope, head_dim, CONTEXT)
    angles = np.arange(CONTEXT)[:, None] * frequencies
    assert cos.shape == sin.shape == (CONTEXT, head_dim // 2)
    assert cos.dtype == sin.dtype == np.float32
    np.testing.assert_allclose(cos, np.cos(angles) * scale, rtol=0, atol=1.3e-7)
    np.testing.assert_allclose(sin, np.sin(angles) * scale, rtol=0, atol=1.3e-7)


def test_a_row_does_not_depend_on_how_many_there_are() -> None:
    for rope in ROPES.values():
        long, short = (rope_tables(rope, 64, count, CONTEXT) for count in (200, 20))
        np.testing.assert_array_equal(long[0][:20], short[0])
        np.testing.assert_array_equal(long[1][:20], short[1])


def test_yarn_without_a_factor_takes_that_of_the_context() -> None:
    parameters = {"original_max_position_embeddings": 64.0}
    given = rope_tables(RopeConfig("yarn", 10000.0, {**parameters, "factor": 4.0}), 64, 100, 999)
    found = rope_tables(RopeConfig("yarn", 10000.0, parameters), 64, 100, 256)
    np.testing.assert_array_equal(found, given)


def test_position_zero_is_not_turned() -> None:
    for name, rope in ROPES.items():
        cos, sin = rope_tables(rope, 32, 1, CONTEXT)
        assert not sin.any(), name
        assert (cos == cos[0, 0]).all(), name
