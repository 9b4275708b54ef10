"""Variants of attention of a prompt on GPUs against float64, in float32 and on matrix units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention import prefill_attention
from ferrylm.schedules.gpu.attention_matrix import matrix_prefill_attention
from ferrylm.schedules.gpu.attention_matrix_plan import MatrixAttentionPlan
from ferrylm.schedules.gpu.attention_plan import BLOCK, AttentionPlan, queries_that_fit
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_tile, matrix_attention_tile
from tests.numeric_gates import FP32, nmse
from tests.schedules.gpu.decode_runner import device_pages
from tests.schedules.gpu.machines import CUDA, VULKAN, Machine
from tests.schedules.variant_cases import CASES, LENGTH, VariantCase, VariantData
from tests.support.cuda_emulator.runner import build, run

Array = np.ndarray
HALVES_NMSE = 1e-3**2  # as of plain attention on matrix units
# From the beginning, across the ends of windows, chunks and pages, and the end of the context.
CHUNKS = ((0, 0), (0, 70), (95, 103), (120, 170), (250, 263), (LENGTH - 9, LENGTH - 1))


def chunk(first: int, last: int, padding: int = 0) -> list[int]:
    positions = list(range(first, last + 1))
    return positions + [-1] * (-len(positions) % ROW_TILE + padding)


class Floats:
    """The kernel of a case in float32."""

    def __init__(self, case: VariantCase, machine: Machine = VULKAN) -> None:
        self.case, self.data, self.machine = case, VariantData(case), machine
        self.pages = device_pages(case, self.data)
        tile, shape = attention_tile(machine.dot, case.head_dim), case.shape
        plan = AttentionPlan(
            shape, tile, machine.dot.subgroup, queries_that_fit(shape, tile, ROW_TILE)
        )
        self.built = machine.build({"f": prefill_attention(Rows(ROW_TILE), plan)})["f"]

    def __call__(self, positions: list[int]) -> Array:
        """Return float32 (rows, padded(Hq * D))."""
        shape = (len(positions), padded(self.case.num_heads * self.case.head_dim))
        return self.launch(self.arguments(positions), [(shape, "float32")])

    def launch(self, arguments: list[Any], outputs: Any) -> Array:
        return self.machine.run(self.built, arguments, outputs)[0]

    def arguments(self, positions: list[int]) -> list[Any]:
        where = np.array(positions, np.int32)
        queries = self.data.queries[np.maximum(positions, 0)]
        return [queries, *self.pages, self.data.table[None], where, *self.data.beside]

    def check(self, positions: list[int], allowed: float) -> None:
        """Compare with float64; rows of padding and columns beyond the last head are zeros."""
        found, width = self(positions), self.case.num_heads * self.case.head_dim
        real = [position for position in positions if position >= 0]
        wanted = self.data.expected(real).reshape(len(real), -1)
        assert nmse(found[: len(real), :width], wanted) <= allowed, positions
        assert (found[len(real) :] == 0).all()
        assert (found[:, width:] == 0).all()


class Halves(Floats):
    """The kernel of a case on matrix units that are emulated."""

    def __init__(self, case: VariantCase, tier: str = "sm90") -> None:
        self.case, self.data = case, VariantData(case)
        self.pages = device_pages(case, self.data)
        tile = matrix_attention_tile(TIERS[tier].profile, case.head_dim)
        func = matrix_prefill_attention(Rows(ROW_TILE), MatrixAttentionPlan(case.shape, tile))
        self.built = build({"f": func}, {"sm90": "90a", "sm75": "75"}[tier])["f"]

    def launch(self, arguments: list[Any], outputs: Any) -> Array:
        return run(self.built, arguments, outputs)[0]


# A scale is no matter of these kernels; heads of 64 take a driver long.
SMALL = [case for case in CASES if case.head_dim < 64 and not case.variant.score_scale]
WHOLE = [
    replace(case, kv_dtype="float16") for case in CASES[2:] if case.head_dim in (64, 80, 96, 128)
]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_a_prompt_in_floats_keeps_the_gate(case: VariantCase) -> None:
    kernel = Floats(case)
    for first, last in CHUNKS:
        kernel.check(chunk(first, last), FP32.operator_nmse)


def test_a_prompt_in_floats_keeps_the_gate_on_cuda() -> None:
    kernel = Floats(CASES[12], CUDA)
    for first, last in CHUNKS[2:]:
        kernel.check(chunk(first, last), FP32.operator_nmse)


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_a_prompt_on_matrix_units_keeps_the_gate(case: VariantCase) -> None:
    kernel = Halves(case)
    for first, last in CHUNKS:
        kernel.check(chunk(first, last, padding=8), HALVES_NMSE)


def test_a_prompt_on_older_matrix_units_keeps_the_gate() -> None:
    kernel = Halves(replace(CASES[12], page_size=32), "sm75")
    for first, last in CHUNKS:
        kernel.check(chunk(first, last), HALVES_NMSE)


@pytest.mark.parametrize("tier", ["sm90", "sm75"])
def test_heads_whose_queries_lie_in_shared_memory_keep_the_gate(tier: str) -> None:
    variant = AttentionVariant(window_tokens=70, soft_cap=2.0, sinks=True)
    kernel = Halves(VariantCase(2, 1, 256, 150, 64, "float16", variant=variant), tier)
    kernel.check(chunk(60, 149), HALVES_NMSE)


@pytest.mark.parametrize("kind", [Floats, Halves])
def test_chunks_and_pages_change_no_bit_of_a_window(kind: type[Floats]) -> None:
    variant = AttentionVariant(window_tokens=75, soft_cap=2.0, alibi=True, sinks=True)
    case = VariantCase(4, 2, 16, 200, 32, "float16", variant=variant)
    kernel = kind(case)
    whole = kernel(chunk(0, 199))
    for first, last in ((0, 40), (41, 104), (105, 199)):
        np.testing.assert_array_equal(
            kernel(chunk(first, last))[: last + 1 - first], whole[first : last + 1]
        )
    other = kind(replace(case, page_size=96))
    np.testing.assert_array_equal(other(chunk(0, 199)), whole)


@pytest.mark.parametrize("kind", [Floats, Halves])
def test_what_lies_before_all_windows_is_not_read(kind: type[Floats]) -> None:
    case = VariantCase(4, 2, 16, LENGTH, 32, "float16", variant=AttentionVariant(50))
    kernel = kind(case)
    for pool in kernel.pages:  # 290 sees 241 and later ones, and steps have 64 tokens at most
        pool[kernel.data.table[: 192 // BLOCK]] = np.nan
    found = kernel(chunk(290, 300))
    assert np.isfinite(found).all()
    assert not np.isfinite(kernel(chunk(230, 240))).all(), "a row that sees them shows it"
