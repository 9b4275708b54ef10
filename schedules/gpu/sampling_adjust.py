# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
# ruff: noqa: SIM102 - `and` would evaluate both conditions
"""The first of two kernels that draw tokens: penalties and bias, as keys, on GPUs.

computes  y = x, times 1 / r or r (by its sign) for a token that was seen, plus the token's offset,
          within the finite float32; keys[m, t] of it, NO_TOKEN for t >= V; best of each slice;
          sums[m, s] = sum of e^((y - slice's best) / temperature), for rows with top-p alone
shapes    logits float32 (B, padded(V)); keys int32 (B, P); best int32 (B, slices, 4);
          sums float32 (B, slices); the rest as in runtime/draw_layout.py
mapping   subgroup  a slice; lane  every subgroup-th token
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.runtime.draw_layout import REPEATS, SEEN, SETTINGS, SHIFTS, Setting
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.operations import subgroup_add, subgroup_max
from ferrylm.schedules.gpu.sampling_plan import (
    NO_TOKEN,
    SLICE,
    DrawPlan,
    clamped,
    key_of,
    setting,
    weight_of,
)

_EXPONENT = 0x7F800000


@T.inline
def adjust_logit(value, logit, marks, settings, seen, offsets, slot, token):  # noqa: D103
    value[0] = logit
    if T.bitwise_and(marks, REPEATS) != 0:
        if T.bitwise_and(seen[slot, token], SEEN) != 0:
            value[0] = clamped(
                value[0]
                * T.Select(
                    value[0] > T.float32(0),
                    setting(settings, slot, Setting.REPETITION_INVERSE),
                    setting(settings, slot, Setting.REPETITION),
                )
            )
    if T.bitwise_and(marks, SHIFTS) != 0:
        value[0] = value[0] + offsets[slot, token]
    value[0] = clamped(value[0])


@T.inline
def adjust_slice(  # noqa: D103
    logits, settings, seen, offsets, keys, best, sums, m, slot, s, lane, plan
):
    value = T.alloc_buffer((1,), "float32", scope="local")
    own = T.alloc_buffer((plan.steps,), "int32", scope="local")
    found = T.alloc_buffer((4,), "int32", scope="local")
    loaded = T.alloc_buffer((plan.steps,), "float32", scope="local")
    marks = T.alloc_buffer((1,), "int32", scope="local")
    for i in T.unroll(4):
        found[i] = 0
    found[0] = T.int32(NO_TOKEN)
    # Before anything is stored: no compiler moves a load ahead of a store that it might depend on.
    marks[0] = settings[slot, Setting.MARKS]
    for j in plan.lane_steps():
        token = T.meta_var(s * SLICE + j * plan.subgroup + lane)
        loaded[j] = logits[m, T.min(token, plan.vocabulary - 1)]
    for j in plan.lane_steps():
        token = T.meta_var(s * SLICE + j * plan.subgroup + lane)
        own[j] = T.int32(NO_TOKEN)
        if token < plan.vocabulary:
            adjust_logit(value, loaded[j], marks[0], settings, seen, offsets, slot, token)
            own[j] = key_of(value[0])
            if T.bitwise_and(
                T.reinterpret(loaded[j], dtype="int32"), T.int32(_EXPONENT)
            ) == T.int32(_EXPONENT):
                own[j] = 0
                found[2] = found[2] + 1
                found[3] = T.max(found[3], plan.padded - token)
        keys[m, token] = own[j]
        found[0] = T.max(found[0], own[j])
    found[0] = subgroup_max(found[0])
    for j in plan.lane_steps():
        if own[j] == found[0]:
            found[1] = T.max(found[1], plan.padded - (s * SLICE + j * plan.subgroup + lane))
    found[1] = subgroup_max(found[1])
    found[2] = subgroup_add(found[2])
    found[3] = subgroup_max(found[3])
    if lane == 0:
        for i in T.unroll(4):
            best[m, s, i] = found[i]
    if setting(settings, slot, Setting.TOP_P) < T.float32(1):
        value[0] = T.float32(0)
        for j in plan.lane_steps():
            if own[j] != T.int32(NO_TOKEN):
                value[0] = value[0] + weight_of(
                    own[j], found[0], setting(settings, slot, Setting.TEMPERATURE)
                )
        value[0] = subgroup_add(value[0])
        if lane == 0:
            sums[m, s] = value[0]


def adjust(plan: DrawPlan) -> Any:
    """Return the PrimFunc (logits, slots, settings, seen, offsets, keys, best, sums), for any B."""
    vocabulary, slices, threads = plan.vocabulary, plan.slices, plan.adjusting_threads
    at_once = threads // plan.subgroup

    @T.prim_func(s_tir=True, private=True)
    def func(
        plogits: T.handle, pslots: T.handle, psettings: T.handle, pseen: T.handle,
        poffsets: T.handle, pkeys: T.handle, pbest: T.handle, psums: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": plan.subgroup})
        batch, count = T.int32(), T.int32()
        logits = T.match_buffer(plogits, (batch, padded(vocabulary)), "float32")
        slots = T.match_buffer(pslots, (batch,), "int32")
        settings = T.match_buffer(psettings, (count, SETTINGS), "int32")
        seen = T.match_buffer(pseen, (count, vocabulary), "int32")
        offsets = T.match_buffer(poffsets, (count, vocabulary), "float32")
        keys = T.match_buffer(pkeys, (batch, plan.padded), "int32")
        best = T.match_buffer(pbest, (batch, slices, 4), "int32")
        sums = T.match_buffer(psums, (batch, slices), "float32")
        for m in T.thread_binding(batch, thread="blockIdx.y"):
            for block in T.thread_binding((slices + at_once - 1) // at_once, thread="blockIdx.x"):
                for thread in T.thread_binding(threads, thread="threadIdx.x"):
                    slot = T.alloc_buffer((1,), "int32", scope="local")
                    slot[0] = slots[m]
                    if slot[0] >= 0:
                        if block * at_once + thread // plan.subgroup < slices:
                            adjust_slice(
                                logits, settings, seen, offsets, keys, best, sums, m, slot[0],
                                block * at_once + thread // plan.subgroup,
                                thread % plan.subgroup, plan,
                            )  # fmt: skip

    return func
