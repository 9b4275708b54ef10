"""Which kernel attends to the rows of a prompt."""

from __future__ import annotations

from typing import Any

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention import prefill_attention
from ferrylm.schedules.gpu.attention_cooperative import cooperative_prefill_attention
from ferrylm.schedules.gpu.attention_cooperative_plan import cooperative_plan, fits_cooperative
from ferrylm.schedules.gpu.attention_matrix import matrix_prefill_attention
from ferrylm.schedules.gpu.attention_matrix_plan import MatrixAttentionPlan
from ferrylm.schedules.gpu.attention_plan import AttentionPlan, queries_that_fit
from ferrylm.schedules.gpu.attention_warpgroup import warpgroup_prefill_attention
from ferrylm.schedules.gpu.attention_warpgroup_plan import TILES as WARPGROUP_TILES
from ferrylm.schedules.gpu.attention_warpgroup_plan import WarpgroupPlan, fits_warpgroups
from ferrylm.schedules.gpu.by_chip import by_chip
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.tiles import (
    ROW_TILE,
    attention_in_halves,
    attention_tile,
    matrix_attention_tile,
)

WARPGROUP_CHIP = 90  # sm_90a


def prefill_kernel(profile: GpuProfile, shape: AttentionShape, rows: Rows) -> Any:
    """Return attention of prefill on matrix units where that is possible, else in float32."""
    if fits_cooperative(profile, shape):
        return cooperative_prefill_attention(rows, cooperative_plan(profile, shape))
    if attention_in_halves(profile, shape):
        tile = matrix_attention_tile(profile, shape.head_dim)
        kernel = matrix_prefill_attention(rows, MatrixAttentionPlan(shape, tile))
        if profile.warpgroups and fits_warpgroups(shape):
            plan = WarpgroupPlan(shape, WARPGROUP_TILES[shape.head_dim])
            return by_chip(WARPGROUP_CHIP, warpgroup_prefill_attention(rows, plan), kernel)
        return kernel
    floats = attention_tile(profile, shape.head_dim)
    queries = queries_that_fit(shape, floats, ROW_TILE)
    return prefill_attention(rows, AttentionPlan(shape, floats, profile.subgroup, queries))
