# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
# ruff: noqa: SIM102 - `and` would evaluate both conditions
"""The second of two kernels that draw tokens: choice, and all that the next step needs, on GPUs.

computes  temperature 0: the token of the greatest key, of equals the lowest id. Else one of those
          that sampling_search.py leaves and that weigh at least min-p: the first, in the order of
          ids, at which the sum of weights exceeds a uniform number times the sum of all.
          Then, for the next step: the token, its position, what was seen, a report in the ring.
shapes    keys, best, sums as sampling_adjust.py leaves them; tokens int32 (tiles, rows of a tile),
          positions int32 (B,), the step's own, changed; the rest as in runtime/draw_layout.py
mapping   workgroup  a row; sums over slices, and over the tokens of the chosen slice, by BUCKETS
          threads, always in the same order
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.runtime.draw_layout import (
    REPORT,
    RING,
    SETTINGS,
    UNIFORMS,
    Setting,
)
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.operations import subgroup_add
from ferrylm.schedules.gpu.sampling_plan import (
    BUCKETS,
    NO_TOKEN,
    SLICE,
    DrawPlan,
    setting,
    weight_of,
)
from ferrylm.schedules.gpu.sampling_report import (
    BAD,
    CHOSEN,
    FIRST_BAD,
    RANK,
    TOKEN,
    first_bad,
    remember,
    report,
)
from ferrylm.schedules.gpu.sampling_search import (
    BEST,
    TAU,
    TEMPERATURE,
    add_up_from_the_top,
    is_kept,
    largest_of_all,
)
from ferrylm.schedules.gpu.sampling_stages import keep_likeliest

# What the row's sequence has come to before this draw.
(SLOT, STEP, POSITION, DRAWN, MARKS, BITS, _STATE) = range(7)
_ROWS = 8  # of shared memory for maxima, each used once between two barriers


@T.inline
def gather_slices(best, slice_keys, small, n, r, m, thread, plan):  # noqa: D103
    # The greatest key and its rank, and what is not finite, of all slices.
    one = T.alloc_buffer((1,), "int32", scope="local")
    n[BEST] = T.int32(NO_TOKEN)
    for i in T.unroll(3):
        r[i] = 0
    for i in T.serial((plan.slices + plan.threads - 1) // plan.threads):
        s = T.meta_var(i * plan.threads + thread)
        if s < plan.slices:
            slice_keys[s] = best[m, s, 0]
            n[BEST] = T.max(n[BEST], best[m, s, 0])
            r[BAD] = r[BAD] + best[m, s, 2]
            r[FIRST_BAD] = T.max(r[FIRST_BAD], best[m, s, 3])
    largest_of_all(one, n[BEST], small, 0, thread, plan)
    n[BEST] = one[0]
    for i in T.serial((plan.slices + plan.threads - 1) // plan.threads):
        s = T.meta_var(i * plan.threads + thread)
        if s < plan.slices:
            if slice_keys[s] == n[BEST]:
                r[RANK] = T.max(r[RANK], best[m, s, 1])
    largest_of_all(one, r[RANK], small, 1, thread, plan)
    r[RANK] = one[0]
    largest_of_all(one, r[FIRST_BAD], small, 2, thread, plan)
    r[FIRST_BAD] = one[0]
    r[BAD] = subgroup_add(r[BAD])
    if thread % plan.subgroup == 0:
        small[3, thread // plan.subgroup] = r[BAD]
    T.tvm_storage_sync("shared")
    r[BAD] = 0
    for i in T.serial(plan.subgroups):
        r[BAD] = r[BAD] + small[3, i]


@T.inline
def weigh(result, keys, settings, n, f, m, slot, s, e, plan):  # noqa: D103
    # The weight of token e of slice s, 0 if it may not be drawn.
    key = T.alloc_buffer((1,), "int32", scope="local")
    key[0] = keys[m, s * SLICE + e]
    result[0] = T.float32(0)
    if is_kept(key[0], plan.padded - (s * SLICE + e), n):
        result[0] = weight_of(key[0], n[BEST], f[TEMPERATURE])
        if result[0] < setting(settings, slot, Setting.MIN_P):
            result[0] = T.float32(0)


@T.inline
def sum_slices(  # noqa: D103
    keys, settings, slice_keys, slice_sums, n, f, m, slot, thread, plan
):
    weight = T.alloc_buffer((1,), "float32", scope="local")
    total = T.alloc_buffer((1,), "float32", scope="local")
    for i in T.serial((plan.slices + plan.subgroups - 1) // plan.subgroups):
        s = T.meta_var(i * plan.subgroups + thread // plan.subgroup)
        if s < plan.slices:
            total[0] = T.float32(0)
            if slice_keys[s] >= n[TAU]:
                for j in plan.lane_steps():
                    weigh(
                        weight, keys, settings, n, f, m, slot, s,
                        j * plan.subgroup + thread % plan.subgroup, plan,
                    )  # fmt: skip
                    total[0] = total[0] + weight[0]
                total[0] = subgroup_add(total[0])
            if thread % plan.subgroup == 0:
                slice_sums[s] = total[0]
    T.tvm_storage_sync("shared")


@T.inline
def pick(chosen, running, target, rank, last_rank):  # noqa: D103
    # `chosen` becomes the rank of the first candidate above the target; else the last one's.
    if running > target:
        chosen[0] = T.max(chosen[0], rank)
    else:
        chosen[1] = T.max(chosen[1], last_rank)


@T.inline
def draw_token(  # noqa: D103
    keys, settings, slice_sums, counts, masses, small, n, f, r, uniform, m, slot, thread, plan
):
    # Sums from the top at BUCKETS - 1 - i are sums up to i.
    chosen = T.alloc_buffer((2,), "int32", scope="local")
    one = T.alloc_buffer((1,), "int32", scope="local")
    weight = T.alloc_buffer((1,), "float32", scope="local")
    sums = T.alloc_buffer((2,), "float32", scope="local")  # running, target
    sums[0] = T.float32(0)
    if thread < BUCKETS:
        for c in T.serial(plan.slices_a_thread):
            if thread * plan.slices_a_thread + c < plan.slices:
                sums[0] = sums[0] + slice_sums[thread * plan.slices_a_thread + c]
        masses[0, BUCKETS - 1 - thread] = sums[0]
        counts[0, thread] = 0
    T.tvm_storage_sync("shared")
    add_up_from_the_top(counts, masses, thread)
    sums[1] = uniform * masses[0, 0]
    chosen[0] = -1
    chosen[1] = -1
    if thread < BUCKETS:
        sums[0] = T.float32(0)
        if thread > 0:
            sums[0] = masses[0, BUCKETS - thread]
        for c in T.serial(plan.slices_a_thread):
            s = T.meta_var(thread * plan.slices_a_thread + c)
            if s < plan.slices:
                sums[0] = sums[0] + slice_sums[s]
                if slice_sums[s] > T.float32(0):
                    pick(chosen, sums[0], sums[1], plan.slices - 1 - s, s)
    largest_of_all(one, chosen[0], small, 4, thread, plan)
    chosen[0] = one[0]
    largest_of_all(one, chosen[1], small, 5, thread, plan)
    r[CHOSEN] = T.Select(chosen[0] >= 0, plan.slices - 1 - chosen[0], T.max(one[0], 0))
    # What is left of the target within the slice: less the sums before it, in the same order.
    sums[0] = T.float32(0)
    if r[CHOSEN] >= plan.slices_a_thread:
        sums[0] = masses[0, BUCKETS - T.truncdiv(r[CHOSEN], plan.slices_a_thread)]
    for c in T.serial(T.truncmod(r[CHOSEN], plan.slices_a_thread)):
        sums[0] = sums[0] + slice_sums[r[CHOSEN] - T.truncmod(r[CHOSEN], plan.slices_a_thread) + c]
    sums[1] = sums[1] - sums[0]
    T.tvm_storage_sync("shared")
    weight[0] = T.float32(0)
    if thread < SLICE:
        weigh(weight, keys, settings, n, f, m, slot, r[CHOSEN], thread, plan)
        masses[0, BUCKETS - 1 - thread] = weight[0]
    T.tvm_storage_sync("shared")
    add_up_from_the_top(counts, masses, thread)
    chosen[0] = -1
    chosen[1] = -1
    if thread < SLICE:
        if weight[0] > T.float32(0):
            pick(
                chosen, masses[0, BUCKETS - 1 - thread], sums[1], SLICE - 1 - thread, thread
            )  # fmt: skip
    largest_of_all(one, chosen[0], small, 6, thread, plan)
    chosen[0] = one[0]
    largest_of_all(one, chosen[1], small, 7, thread, plan)
    r[TOKEN] = r[CHOSEN] * SLICE + T.Select(chosen[0] >= 0, SLICE - 1 - chosen[0], T.max(one[0], 0))


@T.inline
def choose(  # noqa: D103
    keys, best, sums, settings, uniforms, drawn, n, f, r, m, slot, thread, plan
):
    slice_keys = T.alloc_buffer((plan.slices,), "int32", scope="shared")
    slice_sums = T.alloc_buffer((plan.slices,), "float32", scope="shared")
    small = T.alloc_buffer((_ROWS, plan.subgroups), "int32", scope="shared")
    histogram = T.alloc_buffer((3, BUCKETS), "uint32", scope="shared")
    counts = T.alloc_buffer((2, BUCKETS), "int32", scope="shared")
    masses = T.alloc_buffer((2, BUCKETS), "float32", scope="shared")
    gather_slices(best, slice_keys, small, n, r, m, thread, plan)
    f[TEMPERATURE] = setting(settings, slot, Setting.TEMPERATURE)
    r[TOKEN] = plan.padded - r[RANK]
    if T.And(f[TEMPERATURE] > T.float32(0), r[BAD] == 0):
        keep_likeliest(
            keys, sums, settings, slice_keys, histogram, counts, masses, small, n,
            f, m, slot, thread, plan,
        )  # fmt: skip
        sum_slices(keys, settings, slice_keys, slice_sums, n, f, m, slot, thread, plan)
        draw_token(
            keys, settings, slice_sums, counts, masses, small, n, f, r,
            uniforms[slot, T.truncmod(drawn, UNIFORMS)], m, slot, thread,
            plan,
        )  # fmt: skip


def draw(plan: DrawPlan) -> Any:
    """Return the PrimFunc of a step of any number of sequences.

    (logits, keys, best, sums, slots, settings, uniforms, tokens, positions, steps, drawn, seen,
    offsets, ring), of which those from tokens on are changed in place.
    """
    vocabulary, slices = plan.vocabulary, plan.slices

    @T.prim_func(s_tir=True, private=True)
    def func(
        plogits: T.handle, pkeys: T.handle, pbest: T.handle, psums: T.handle, pslots: T.handle,
        psettings: T.handle, puniforms: T.handle, ptokens: T.handle, ppositions: T.handle,
        psteps: T.handle, pdrawn: T.handle, pseen: T.handle, poffsets: T.handle, pring: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": plan.subgroup})
        batch, tiles, tile, count = T.int32(), T.int32(), T.int32(), T.int32()
        logits = T.match_buffer(plogits, (batch, padded(vocabulary)), "float32")
        keys = T.match_buffer(pkeys, (batch, plan.padded), "int32")
        best = T.match_buffer(pbest, (batch, slices, 4), "int32")
        sums = T.match_buffer(psums, (batch, slices), "float32")
        slots = T.match_buffer(pslots, (batch,), "int32")
        tokens = T.match_buffer(ptokens, (tiles, tile), "int32")
        positions = T.match_buffer(ppositions, (batch,), "int32")
        steps = T.match_buffer(psteps, (batch,), "int32")
        ring = T.match_buffer(pring, (RING, batch, REPORT), "int32")
        settings = T.match_buffer(psettings, (count, SETTINGS), "int32")
        uniforms = T.match_buffer(puniforms, (count, UNIFORMS), "float32")
        drawn = T.match_buffer(pdrawn, (count,), "int32")
        seen = T.match_buffer(pseen, (count, vocabulary), "int32")
        offsets = T.match_buffer(poffsets, (count, vocabulary), "float32")
        for m in T.thread_binding(batch, thread="blockIdx.x"):
            for thread in T.thread_binding(plan.threads, thread="threadIdx.x"):
                n = T.alloc_buffer((8,), "int32", scope="local")
                f = T.alloc_buffer((3,), "float32", scope="local")
                r = T.alloc_buffer((5,), "int32", scope="local")
                # Read before anything is stored, all at once: one after the other they would take
                # as long as the choice itself.
                state = T.alloc_buffer((_STATE,), "int32", scope="local")
                state[SLOT] = slots[m]
                state[STEP] = steps[m]
                state[POSITION] = positions[m]
                if state[SLOT] >= 0:
                    state[DRAWN] = drawn[state[SLOT]]
                    state[MARKS] = settings[state[SLOT], Setting.MARKS]
                    choose(
                        keys, best, sums, settings, uniforms, state[DRAWN], n, f, r, m,
                        state[SLOT], thread, plan,
                    )  # fmt: skip
                    if thread == 0:
                        state[BITS] = T.reinterpret(logits[m, first_bad(r, plan)], dtype="int32")
                        report(ring, state[BITS], state[STEP], r, m, plan)
                        remember(settings, seen, offsets, r, state[MARKS], state[SLOT])
                        steps[m] = state[STEP] + 1
                        drawn[state[SLOT]] = state[DRAWN] + 1
                        tokens[T.truncdiv(m, tile), T.truncmod(m, tile)] = r[TOKEN]
                        positions[m] = state[POSITION] + 1

    return func
