# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""The stages of sampling_search.py one after another: those that a row's settings ask for."""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.runtime.draw_layout import Setting
from ferrylm.schedules.gpu.sampling_plan import (
    BUCKETS,
    NO_TOKEN,
    clamped,
    key_of,
    setting,
    value_of,
    weight_of,
)
from ferrylm.schedules.gpu.sampling_search import (
    ABOVE,
    BEST,
    BOUND,
    COUNT,
    COUNT_TIES,
    FOUND,
    LEAST_RANK,
    LOW,
    MASS,
    MASS_TIES,
    STAGES,
    TAKEN,
    TAU,
    TEMPERATURE,
    WANTED,
    WANTED_MASS,
    add_up_from_the_top,
    narrow,
)

_MANY = 1 << 24  # tokens, more than any vocabulary has


@T.inline
def add_all_weights(sums, slice_keys, counts, masses, n, f, m, thread, plan):  # noqa: D103
    # ABOVE becomes the sum of the weights of all tokens, out of the slices' sums.
    weight = T.alloc_buffer((1,), "float32", scope="local")
    weight[0] = T.float32(0)
    if thread < BUCKETS:
        for c in T.serial(plan.slices_a_thread):
            s = T.meta_var(thread * plan.slices_a_thread + c)
            if s < plan.slices:
                weight[0] = weight[0] + sums[m, s] * weight_of(
                    slice_keys[s], n[BEST], f[TEMPERATURE]
                )
        masses[0, thread] = weight[0]
        counts[0, thread] = 0
    T.tvm_storage_sync("shared")
    add_up_from_the_top(counts, masses, thread)
    f[ABOVE] = masses[0, 0]


@T.inline
def begin_mass(settings, n, f, slot, plan):  # noqa: D103
    # ABOVE is the sum of what top-k left. All tokens below the share of one in what may be left
    # out can be: so few have to be looked at. A little less, as these numbers are rounded.
    share = T.meta_var(
        (T.float32(1) - setting(settings, slot, Setting.TOP_P))
        * f[ABOVE]
        * T.float32(0.99 / plan.vocabulary)
    )
    f[WANTED_MASS] = T.max(setting(settings, slot, Setting.TOP_P) * f[ABOVE], T.float32(0.5))
    f[ABOVE] = value_of(n[BEST]) + T.log(T.max(share, T.float32(1e-30))) * T.max(
        f[TEMPERATURE], T.float32(1e-30)
    )
    f[ABOVE] = clamped(f[ABOVE] - T.abs(f[ABOVE]) * T.float32(1e-5))
    n[LOW] = T.max(n[TAU], key_of(f[ABOVE]))
    f[ABOVE] = T.float32(0)


@T.inline
def begin(settings, n, f, span, slot, stage, k, plan):  # noqa: D103
    span[0] = T.uint32(plan.padded)
    if stage % 2 == 0:
        n[LOW] = 0
    if stage == BOUND:
        n[LOW] = n[TAU]
    if stage <= COUNT:
        n[WANTED] = k
        f[ABOVE] = T.float32(0)
    if stage == MASS:
        begin_mass(settings, n, f, slot, plan)
    if T.Or(stage == BOUND, stage % 2 == 1):
        span[0] = T.reinterpret(n[BEST], dtype="uint32") - T.reinterpret(n[LOW], dtype="uint32")


@T.inline
def end(n, f, stage):  # noqa: D103
    if stage == COUNT:
        n[TAU] = n[LOW]
        f[ABOVE] = f[ABOVE] + T.cast(n[WANTED], "float32") * weight_of(
            n[TAU], n[BEST], f[TEMPERATURE]
        )
    if stage == MASS:
        if n[LOW] > n[TAU]:
            n[TAU] = n[LOW]
            n[LEAST_RANK] = 0
        n[WANTED] = T.cast(
            T.min(
                T.ceil(
                    f[WANTED_MASS]
                    / T.max(weight_of(n[TAU], n[BEST], f[TEMPERATURE]), T.float32(1e-30))
                ),
                T.float32(_MANY),
            ),
            "int32",
        )
        n[WANTED] = T.max(n[WANTED], 1)
    if stage % 2 == 1:
        n[TAKEN] = T.Select(n[WANTED] < n[FOUND], 1, 0)  # only some of the equals
    else:
        if stage != BOUND:
            n[LEAST_RANK] = n[LOW]


@T.inline
def keep_likeliest(  # noqa: D103
    keys, sums, settings, slice_keys, histogram, counts, masses, small, n, f, m, slot, thread, plan
):
    # Leaves TAU and LEAST_RANK.
    span = T.alloc_buffer((1,), "uint32", scope="local")
    k = T.meta_var(settings[slot, Setting.TOP_K])
    some = T.meta_var(T.And(k > 0, k < plan.vocabulary))
    by_mass = T.meta_var(setting(settings, slot, Setting.TOP_P) < T.float32(1))
    n[TAU] = T.int32(NO_TOKEN + 1)
    n[LEAST_RANK] = 0
    n[TAKEN] = 0
    n[LOW] = n[TAU]
    for stage in T.serial(STAGES):
        if T.And(stage == MASS, T.And(by_mass, T.Not(some))):
            add_all_weights(sums, slice_keys, counts, masses, n, f, m, thread, plan)
        if T.Or(
            T.Or(
                T.And(stage == BOUND, T.And(some, k <= plan.slices)),
                T.And(stage == COUNT, some),
            ),
            T.Or(
                T.And(stage == MASS, by_mass),
                T.And(T.Or(stage == COUNT_TIES, stage == MASS_TIES), n[TAKEN] != 0),
            ),
        ):
            begin(settings, n, f, span, slot, stage, k, plan)
            narrow(
                keys, slice_keys, histogram, counts, masses, small, n, f, span, m, stage,
                T.And(stage % 2 == 1, by_mass), thread, plan,
            )  # fmt: skip
            end(n, f, stage)
        # Ties are of the stage before alone.
        if T.And(stage % 2 == 0, stage != BOUND):
            n[TAKEN] = 0

    # A barrier lies between what was read here last and what is written next.
    T.tvm_storage_sync("shared")
