"""The kernel that measures bandwidth reads every word once, and no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferrylm.runtime.memory_read import FUNCTION, THREADS, memory_shape
from ferrylm.schedules.gpu.memory_read import memory_read
from tests.schedules.gpu import vulkan_runner


@pytest.fixture(scope="module")
def kernel() -> Any:
    return vulkan_runner.build({FUNCTION: memory_read()})[FUNCTION]


def sums_of(kernel: Any, memory: np.ndarray) -> np.ndarray:
    (found,) = vulkan_runner.run(kernel, [memory], [((memory.shape[1], THREADS), "uint32")])
    return found


@pytest.mark.parametrize(("turns", "workgroups"), [(1, 1), (3, 5), (2, 64)])
def test_the_sums_are_those_of_all_words(kernel: Any, turns: int, workgroups: int) -> None:
    generator = np.random.default_rng(turns)
    shape = memory_shape(turns, workgroups)
    memory = generator.integers(0, 2**32, shape, dtype=np.uint32)
    wanted = memory.sum(axis=(0, 2, 4), dtype=np.uint64)
    np.testing.assert_array_equal(sums_of(kernel, memory), wanted.astype(np.uint32))


def test_no_word_can_change_unseen(kernel: Any) -> None:
    memory = np.zeros(memory_shape(2, 2), np.uint32)
    generator = np.random.default_rng(0)
    for place in generator.choice(memory.size, 20, replace=False):
        memory.reshape(-1)[place] = 1
        assert sums_of(kernel, memory).sum() == 1, f"word {place}"
        memory.reshape(-1)[place] = 0
