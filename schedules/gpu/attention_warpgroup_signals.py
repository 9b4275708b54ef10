# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""How the warpgroups of attention tell one another that a stage is filled, or read.

A signal of each stage and kind lies in shared memory. Turn n of a workgroup, its steps counted over
all its tasks, uses stage n % stages: for the n / stages + 1st time, of which a signal knows whether
it is an odd or an even one.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.attention_warpgroup_operations import (
    signal_begin,
    signal_give_if,
    signal_publish,
    signal_wait,
)
from ferrylm.schedules.gpu.attention_warpgroup_plan import GROUP_THREADS, SIGNAL_WORDS, WIDTH

KEYS_THERE, KEYS_READ, VALUES_THERE, VALUES_READ = range(4)  # kinds of signals
READERS = GROUP_THREADS // WIDTH  # of a warpgroup: each subgroup says that it read a stage


def signal_at(near: Any, kind: int, turn: Any, plan: Any) -> Any:
    """Return the address of the signal of a turn."""
    number = kind * plan.stages + T.truncmod(turn, plan.stages)
    return T.address_of(near[plan.signals_at + number * SIGNAL_WORDS])


def parity_of(turn: Any, plan: Any) -> Any:
    """Return whether a stage is used for an even or an odd time."""
    return T.truncmod(T.truncdiv(turn, plan.stages), 2)


@T.inline
def begin_signals(near, thread, plan):  # noqa: D103
    if thread == 0:
        for s in T.unroll(plan.stages):
            T.evaluate(signal_begin(signal_at(near, KEYS_THERE, s, plan), GROUP_THREADS))
            T.evaluate(
                signal_begin(signal_at(near, KEYS_READ, s, plan), READERS * plan.tile.groups)
            )
            T.evaluate(signal_begin(signal_at(near, VALUES_THERE, s, plan), GROUP_THREADS))
            T.evaluate(
                signal_begin(signal_at(near, VALUES_READ, s, plan), READERS * plan.tile.groups)
            )
        T.evaluate(signal_publish())
    T.tvm_storage_sync("shared")


@T.inline
def wait_copied(near, kind, turn, plan):  # noqa: D103
    # Products see what threads copied only behind a fence, their own or that of who waits.
    T.evaluate(signal_wait(signal_at(near, kind, turn, plan), parity_of(turn, plan)))
    T.evaluate(signal_publish())


@T.inline
def give_read(near, kind, turn, thread, plan):  # noqa: D103
    T.tvm_storage_sync("warp")
    T.evaluate(signal_give_if(signal_at(near, kind, turn, plan), thread % WIDTH == 0))
