# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
# ruff: noqa: SIM102 - `and` would evaluate both conditions
"""Which tokens of a row may be drawn: top-k, then top-p of what is left, on GPUs.

Both keep the greatest keys, of equal ones those of the lowest ids, so that the result is a least
key `tau` and, for tokens of just this key, a least rank. It is found in up to five stages:

BOUND   the k-th greatest of the slices' greatest keys: no token below it is among the top k
COUNT   top-k: the k-th greatest key
TIES    of those that equal it, the least rank that is taken
MASS    top-p: the greatest key at which weights sum up to the wanted mass
TIES    again

A stage narrows a range of values: a histogram of 256 buckets, added up from the top, says in which
bucket the wanted value lies, and that bucket is the next range. Weights are added as integers of
2^-31, in 64 bits, so that their sums do not depend on the order in which threads come.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.atomics import atomic_add
from ferrylm.schedules.gpu.operations import subgroup_max
from ferrylm.schedules.gpu.sampling_plan import BUCKETS, SLICE, weight_of

BOUND, COUNT, COUNT_TIES, MASS, MASS_TIES = range(5)
STAGES = 5
PASSES = 4  # of 8 bits each
ONE = float(2**31)  # a weight of 1 as an integer

# Local numbers of a search: of int32,
(LOW, BUCKET, WANTED, FOUND, TAU, LEAST_RANK, BEST, TAKEN) = range(8)
# and of float32.
(WANTED_MASS, ABOVE, TEMPERATURE) = range(3)


def _weight(n: Any, f: Any, key: Any) -> Any:
    return weight_of(key, n[BEST], f[TEMPERATURE])


def is_kept(key: Any, rank: Any, n: Any) -> Any:
    """Say whether a token is one of those that are left."""
    return T.Or(key > n[TAU], T.And(key == n[TAU], rank >= n[LEAST_RANK]))


def _word(value: Any) -> Any:
    return T.reinterpret(value, dtype="uint32")


@T.inline
def largest_of_all(result, value, small, row, thread, plan):  # noqa: D103
    # All threads get the maximum of int32 values; `row` of `small` must be free.
    result[0] = subgroup_max(value)
    if thread % plan.subgroup == 0:
        small[row, thread // plan.subgroup] = result[0]
    T.tvm_storage_sync("shared")
    for i in T.unroll((plan.subgroups + plan.subgroup - 1) // plan.subgroup):
        if i * plan.subgroup + thread % plan.subgroup < plan.subgroups:
            result[0] = T.max(result[0], small[row, i * plan.subgroup + thread % plan.subgroup])
    result[0] = subgroup_max(result[0])


@T.inline
def add_up_from_the_top(counts, masses, thread):  # noqa: D103
    # counts[0, i] becomes the sum of counts[0, j], j >= i; the same with masses.
    for step in T.serial(8):
        source = T.meta_var(step % 2)
        other = T.meta_var(T.min(thread + T.shift_left(1, step), BUCKETS - 1))
        if thread < BUCKETS:
            if thread + T.shift_left(1, step) < BUCKETS:
                counts[1 - source, thread] = counts[source, thread] + counts[source, other]
                masses[1 - source, thread] = masses[source, thread] + masses[source, other]
            else:
                counts[1 - source, thread] = counts[source, thread]
                masses[1 - source, thread] = masses[source, thread]
        T.tvm_storage_sync("shared")


@T.inline
def put(value, key, with_mass, shift, histogram, n, f):  # noqa: D103
    # Values below the range are none of these, and those above it fall out of the buckets.
    old = T.alloc_buffer((2,), "uint32", scope="local")
    bucket = T.meta_var(T.shift_right(_word(value) - _word(n[LOW]), T.cast(shift, "uint32")))
    if bucket < T.uint32(BUCKETS):
        T.evaluate(atomic_add(histogram[0, bucket], T.uint32(1)))
        if with_mass:
            old[1] = T.cast(_weight(n, f, key) * T.float32(ONE) + T.float32(0.5), "uint32")
            old[0] = atomic_add(histogram[1, bucket], old[1])
            if old[0] + old[1] < old[0]:
                T.evaluate(atomic_add(histogram[2, bucket], T.uint32(1)))


@T.inline
def fill_histogram(  # noqa: D103
    keys, slice_keys, histogram, n, f, m, stage, shift, with_mass, thread, plan
):
    key = T.alloc_buffer((plan.steps,), "int32", scope="local")
    for i in T.serial((plan.slices + plan.subgroups - 1) // plan.subgroups):
        s = T.meta_var(i * plan.subgroups + thread // plan.subgroup)
        lane = T.meta_var(thread % plan.subgroup)
        if s < plan.slices:
            if slice_keys[s] >= T.Select(stage % 2 == 1, n[LOW], n[TAU]):
                for j in plan.lane_steps():
                    key[j] = keys[m, s * SLICE + j * plan.subgroup + lane]
                for j in T.serial(plan.steps):
                    rank = T.meta_var(plan.padded - (s * SLICE + j * plan.subgroup + lane))
                    value = T.meta_var(T.Select(stage % 2 == 1, key[j], rank))
                    if T.And(
                        value >= n[LOW],
                        T.And(is_kept(key[j], rank, n), T.Or(stage % 2 == 1, key[j] == n[TAU])),
                    ):
                        put(value, key[j], with_mass, shift, histogram, n, f)


@T.inline
def fill_from_slices(slice_keys, histogram, n, f, shift, thread, plan):  # noqa: D103
    for i in T.serial((plan.slices + plan.threads - 1) // plan.threads):
        if i * plan.threads + thread < plan.slices:
            if slice_keys[i * plan.threads + thread] >= n[LOW]:
                put(
                    slice_keys[i * plan.threads + thread], n[BEST], False, shift, histogram, n, f
                )  # fmt: skip


@T.inline
def choose_bucket(histogram, counts, masses, small, n, f, stage, thread, plan):  # noqa: D103
    # The highest bucket at which what is wanted has been reached, or the lowest one.
    result = T.alloc_buffer((1,), "int32", scope="local")
    if thread < BUCKETS:
        counts[0, thread] = T.reinterpret(histogram[0, thread], dtype="int32")
        masses[0, thread] = T.cast(histogram[2, thread], "float32") * T.float32(2) + T.cast(
            histogram[1, thread], "float32"
        ) * T.float32(1 / ONE)
    T.tvm_storage_sync("shared")
    add_up_from_the_top(counts, masses, thread)
    result[0] = 0
    if thread < BUCKETS:
        if stage == MASS:
            if masses[0, thread] >= f[WANTED_MASS]:
                result[0] = thread
        else:
            if counts[0, thread] >= n[WANTED]:
                result[0] = thread
    largest_of_all(result, result[0], small, 0, thread, plan)
    n[BUCKET] = result[0]
    n[FOUND] = counts[0, n[BUCKET]]
    if n[BUCKET] < BUCKETS - 1:
        n[FOUND] = n[FOUND] - counts[0, n[BUCKET] + 1]
        n[WANTED] = n[WANTED] - counts[0, n[BUCKET] + 1]
        f[WANTED_MASS] = f[WANTED_MASS] - masses[0, n[BUCKET] + 1]
        f[ABOVE] = f[ABOVE] + masses[0, n[BUCKET] + 1]


@T.inline
def narrow(  # noqa: D103
    keys, slice_keys, histogram, counts, masses, small, n, f, span, m, stage, with_mass, thread,
    plan,
):  # fmt: skip
    moved = T.alloc_buffer((1,), "uint32", scope="local")
    for p in T.serial(PASSES):
        shift = T.meta_var(24 - 8 * p)
        if T.Or(
            shift == 0,
            T.shift_right(span[0], T.cast(shift, "uint32")) != T.uint32(0),
        ):
            for i in T.unroll(3):
                if thread < BUCKETS:
                    histogram[i, thread] = T.uint32(0)
            T.tvm_storage_sync("shared")
            if stage == BOUND:
                fill_from_slices(slice_keys, histogram, n, f, shift, thread, plan)
            else:
                fill_histogram(
                    keys, slice_keys, histogram, n, f, m, stage, shift, with_mass, thread, plan
                )
            T.tvm_storage_sync("shared")
            choose_bucket(histogram, counts, masses, small, n, f, stage, thread, plan)
            moved[0] = _word(n[LOW]) + T.shift_left(_word(n[BUCKET]), T.cast(shift, "uint32"))
            n[LOW] = T.reinterpret(moved[0], dtype="int32")
            span[0] = T.shift_left(T.uint32(1), T.cast(shift, "uint32")) - T.uint32(1)
