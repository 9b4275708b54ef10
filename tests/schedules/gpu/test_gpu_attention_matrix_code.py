from __future__ import annotations

from typing import Any

import pytest

from ferrylm.compile.cuda.resources import KernelResources, kernel_resources
from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_matrix import matrix_prefill_attention
from ferrylm.schedules.gpu.attention_matrix_plan import MOST_HEAD, MatrixAttentionPlan
from ferrylm.schedules.gpu.tiles import ROW_TILE, matrix_attention_tile
from tests.compile.cuda.cuda_builds import build_library

HEADS = (64, 80, 96, 112, 128, 192, MOST_HEAD)
CHIPS = {"sm75": ("75", "80"), "sm90": ("90a", "120")}
# Of a workgroup and of a multiprocessor, bytes, less 1 KiB that CUDA takes for each workgroup from
# 80 on; CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
MOST_SHARED = {"sm75": 64 << 10, "sm90": 99 << 10}


def plan_of(tier: str, head_dim: int) -> MatrixAttentionPlan:
    tile = matrix_attention_tile(TIERS[tier].profile, head_dim)
    return MatrixAttentionPlan(AttentionShape(8, 2, head_dim, "float16"), tile)


@pytest.fixture(scope="module", params=sorted(CHIPS))
def kernels(request: Any) -> list[tuple[MatrixAttentionPlan, KernelResources]]:
    """Return each kernel of a tier on each of its chips."""
    plans = {f"heads_of_{head}": plan_of(request.param, head) for head in HEADS}
    functions = [
        matrix_prefill_attention(Rows(ROW_TILE), plan).with_attr("global_symbol", name)
        for name, plan in plans.items()
    ]
    _, built = build_library(functions, *CHIPS[request.param])
    found = [
        (plans[one.kernel.removesuffix("_kernel")], one) for one in kernel_resources(built.code)
    ]
    assert len(found) == len(HEADS) * len(CHIPS[request.param])
    return found


def test_all_numbers_of_a_step_stay_in_registers(kernels: Any) -> None:
    for plan, found in kernels:
        what = f"{plan} {found.architecture}"
        assert found.spill_instructions == 0, what
        assert found.stack_bytes == 0, what
        assert found.registers * plan.threads * plan.tile.workgroups <= 65536, what


def test_a_step_multiplies_each_fragment_once_and_loads_pairs(kernels: Any) -> None:
    for plan, found in kernels:
        products = (
            plan.tile.fragments
            * (plan.depths * plan.score_tiles + plan.output_tiles * plan.tokens // 16)
            * (2 if found.architecture == "sm_75" else 1)
        )
        loads = (plan.depths * plan.score_tiles + plan.output_tiles * plan.tokens // 16) // 2
        loads += plan.tile.fragments * plan.depths if plan.tile.near else 0
        assert found.mnemonics["HMMA"] == products, f"{plan} {found.architecture}"
        assert found.mnemonics["LDSM"] == loads, f"{plan} {found.architecture}"


@pytest.mark.parametrize("tier", sorted(CHIPS))
def test_a_workgroup_fits_into_the_shared_memory_of_every_chip_of_its_tier(tier: str) -> None:
    for head_dim in range(16, MOST_HEAD + 1, 16):
        assert plan_of(tier, head_dim).near_words * 4 <= MOST_SHARED[tier], head_dim
