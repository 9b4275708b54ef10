"""Budgets: what they forbid, and that a claim which cannot be true does not meet them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ferrylm.compile.isa.assembly import HotLoop
from ferrylm.compile.isa.budgets import Budget, Budgets, read_budgets
from ferrylm.compile.isa.radv import compile_kernels
from ferrylm.compile.isa.shader_statistics import CompiledKernel, ShaderStatistics
from ferrylm.errors import UsageError
from tests.support.deck import deck, needs_radv, shader

LOOP = HotLoop("BB1", instructions=64, vector_instructions=50, loaded_bytes=48, loops_around=0)
STATISTICS = ShaderStatistics(
    vector_registers=40, scalar_registers=128, spilled_vector_registers=0,
    spilled_scalar_registers=0, shared_bytes=0, scratch_bytes=0, subgroups_per_simd=16,
    instructions=90, code_bytes=500, inverse_throughput=100, latency=1000, hot_loop=LOOP,
)  # fmt: skip
KERNEL = CompiledKernel("matvec_q4", 32, STATISTICS, loop_weights=32)
BUDGET = Budget("matvec_*", 0, 64, max_instructions_per_weight=2.0)


def problems(kernel: CompiledKernel = KERNEL, budget: Budget = BUDGET) -> list[str]:
    return Budgets("vangogh", (budget,)).violations(kernel)


def changed(**changes: Any) -> CompiledKernel:
    return replace(KERNEL, statistics=replace(STATISTICS, **changes))


def test_a_kernel_at_its_limit_keeps_its_budget() -> None:
    assert KERNEL.loop_instructions_per_weight == 2.0
    assert problems() == []


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (changed(spilled_vector_registers=1), "1 spills"),
        (changed(spilled_scalar_registers=2), "2 spills"),
        (changed(vector_registers=72), "72 vector registers"),
        (changed(scratch_bytes=16), "16 bytes of scratch"),
        (changed(hot_loop=replace(LOOP, instructions=65)), "2.03 instructions per weight"),
        (changed(hot_loop=None), "nobody says how many weights"),
        (replace(KERNEL, loop_weights=None), "nobody says how many weights"),
        (
            replace(changed(hot_loop=None), loop_weights=None, lane_weights=44),
            "2.05 instructions per weight",
        ),
        (replace(KERNEL, loop_weights=97), "48 bytes, which cannot hold the 97 weights"),
        (replace(KERNEL, statistics=None, problem="needs shaderInt64"), "needs shaderInt64"),
        (replace(KERNEL, name="other"), "no budget names it"),
    ],
)
def test_whatever_exceeds_a_budget_is_one_problem_that_says_so(
    kernel: CompiledKernel, said: str
) -> None:
    (problem,) = problems(kernel)
    assert said in problem


def test_all_that_a_lane_executes_counts_what_is_outside_of_the_loop_once() -> None:
    """90 instructions of which 64 are the loop's, ten turns of it."""
    ten_turns = replace(KERNEL, lane_weights=320)
    assert ten_turns.instructions_per_weight == (26 + 640) / 320
    assert replace(ten_turns, loop_weights=None).instructions_per_weight is None
    nested = replace(changed(hot_loop=replace(LOOP, loops_around=1)), lane_weights=320)
    assert nested.instructions_per_weight is None


def test_a_kernel_whose_lanes_decode_few_weights_is_not_judged_by_them() -> None:
    budget = replace(BUDGET, max_instructions_per_weight=1.0, min_lane_weights=100)
    assert problems(replace(KERNEL, lane_weights=99), budget) == []
    assert problems(replace(KERNEL, lane_weights=100), budget) != []


def test_a_kernel_that_the_family_refuses_exceeds_nothing() -> None:
    assert problems(replace(KERNEL, statistics=None, refusal="needs shaderFloat64")) == []


def test_the_first_budget_that_matches_counts() -> None:
    strict, loose = replace(BUDGET, max_vector_registers=8), replace(BUDGET, pattern="*")
    assert Budgets("vangogh", (strict, loose)).of("matvec_q4") == strict
    assert Budgets("vangogh", (strict, loose)).of("norm") == loose


def test_weights_of_a_turn_come_from_the_container_and_else_from_the_budget() -> None:
    budgets = Budgets("vangogh", (replace(BUDGET, loop_weights=64),))
    silent = replace(KERNEL, loop_weights=None)
    assert [k.loop_weights for k in budgets.completed([KERNEL, silent])] == [32, 64]


@needs_radv
def test_the_budget_of_a_dot_product_is_met_by_packed_bytes_and_not_by_floats() -> None:
    budgets = Budgets("vangogh", (Budget("gemv_*", 0, 64, max_instructions_per_weight=2.8),))
    rows = compile_kernels([shader(name, 0) for name in ("gemv_dot", "gemv_float")], deck())
    found = {(row.name, row.subgroup): budgets.violations(row) for row in rows}
    assert found["gemv_dot", 32] == found["gemv_dot", 64] == []
    assert all("instructions per weight" in found["gemv_float", width][0] for width in (32, 64))


@needs_radv
def test_a_kernel_that_spills_exceeds_the_budget_of_every_kernel() -> None:
    budgets = read_budgets(Path(__file__).parents[2] / "budgets" / "vangogh.json")
    (row,) = compile_kernels([shader("many_registers", 32)], deck())
    said = " ".join(budgets.violations(row))
    assert "spills" in said
    assert "256 vector registers" in said
    assert "scratch" in said


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "names no family"),
        ({"family": "vangogh"}, "no list of budgets"),
        ({"family": "vangogh", "budgets": [{}]}, "without a pattern"),
        ({"family": "vangogh", "budgets": [{"pattern": "*"}]}, "no max_vector_registers"),
        (
            {"family": "x", "budgets": [{"pattern": "*", "max_vector_registers": 1.5}]},
            "not a whole number",
        ),
        (
            {"family": "x", "budgets": [{"pattern": "*", "max_vector_registers": -1}]},
            "not a number",
        ),
        (
            {"family": "x", "budgets": [{"pattern": "*", "max_spils": 0}]},
            "unknown key max_spils",
        ),
    ],
)
def test_a_file_of_budgets_with_a_mistake_is_refused(
    tmp_path: Path, document: object, said: str
) -> None:
    path = tmp_path / "budgets.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=said):
        read_budgets(path)
