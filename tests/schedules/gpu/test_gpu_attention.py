from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention import prefill_attention
from ferrylm.schedules.gpu.attention_plan import AttentionPlan, queries_that_fit
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_tile
from tests.numeric_gates import FP32, nmse
from tests.schedules.attention_data import AttentionData
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu.decode_runner import device_pages
from tests.schedules.gpu.machines import CUDA, VULKAN, Machine

Array = np.ndarray
LENGTHS = (1, 31, 33, 64, 65, 129, 400)
CASES = (
    AttentionCase(3, 3, 18, max(LENGTHS), 32),
    AttentionCase(9, 3, 64, max(LENGTHS), 32),
    AttentionCase(8, 2, 80, max(LENGTHS), 64),
    AttentionCase(4, 1, 96, max(LENGTHS), 32, "float32"),
    AttentionCase(7, 1, 128, max(LENGTHS), 64),
)


# NVIDIA's chips have another kernel where keys are float16 and heads whole vectors.
CUDA_CASES = (CASES[0], CASES[3])
RUNS = [(VULKAN, case) for case in CASES] + [(CUDA, case) for case in CUDA_CASES]


def plan_of(profile: GpuProfile, shape: AttentionShape) -> AttentionPlan:
    tile = attention_tile(profile, shape.head_dim)
    return AttentionPlan(shape, tile, profile.subgroup, queries_that_fit(shape, tile, ROW_TILE))


class Prefill:
    """The kernel of a case, built when it is first called."""

    def __init__(self, machine: Machine, case: AttentionCase) -> None:
        self.machine, self.case, self.data = machine, case, AttentionData(case)
        self.plan = plan_of(machine.dot, case.shape)
        self.width = case.num_heads * case.head_dim
        self.pages = device_pages(case, self.data)
        self.built: Any = None

    def run(self, positions: list[int]) -> Array:
        """Return float32 (rows, padded(Hq * D))."""
        if self.built is None:
            func = prefill_attention(Rows(ROW_TILE), self.plan)
            self.built = self.machine.build({"f": func})["f"]
        queries = self.data.queries[np.maximum(positions, 0)]
        where = np.array(positions, np.int32)
        inputs = [queries, *self.pages, self.data.table[None], where]
        shape = (len(positions), padded(self.width))
        return self.machine.run(self.built, inputs, [(shape, "float32")])[0]


def chunk_up_to(last: int) -> list[int]:
    """Return the positions of a chunk of two tiles at most that ends at `last`, with padding."""
    positions = list(range(max(0, last - 10), last + 1))
    return positions + [-1] * (-len(positions) % ROW_TILE)


@pytest.mark.parametrize(("machine", "case"), RUNS, ids=str)
def test_prefill_keeps_the_gate_at_every_length(machine: Machine, case: AttentionCase) -> None:
    kernel = Prefill(machine, case)
    for length in LENGTHS:
        chunk = chunk_up_to(length - 1)
        rows = kernel.run(chunk)
        real = [position for position in chunk if position >= 0]
        wanted = kernel.data.expected(real).reshape(len(real), -1)
        assert nmse(rows[: len(real), : kernel.width], wanted) <= FP32.operator_nmse, length
        assert (rows[len(real) :] == 0).all(), "a row of padding gives zeros"
        assert (rows[:, kernel.width :] == 0).all()
