# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"

"""What a draw leaves: a report in the ring, and what penalties know of the token, on GPUs."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.runtime.draw_layout import ANSWERED, RING, SEEN, SHIFTS, Report, Setting
from ferrylm.schedules.gpu.sampling_plan import DrawPlan, setting

# Local numbers of a choice, beside those of a search.
(RANK, BAD, FIRST_BAD, TOKEN, CHOSEN) = range(5)


def first_bad(r: Any, plan: DrawPlan) -> Any:
    """Return the first token whose logit is not finite; the last one where there is none."""
    return T.max(T.min(plan.padded - r[FIRST_BAD], plan.vocabulary - 1), 0)


@T.inline
def report(ring, bits, step, r, m, plan):  # noqa: D103
    place = T.meta_var(T.truncmod(step, RING))
    ring[place, m, Report.TOKEN] = r[TOKEN]
    ring[place, m, Report.NOT_FINITE] = r[BAD]
    ring[place, m, Report.FIRST_BAD] = first_bad(r, plan)
    ring[place, m, Report.BAD_BITS] = bits


@T.inline
def remember(settings, seen, offsets, r, marks, slot):  # noqa: D103
    old = T.alloc_buffer((1,), "int32", scope="local")
    value = T.alloc_buffer((1,), "float32", scope="local")
    if marks != 0:
        old[0] = seen[slot, r[TOKEN]]
        seen[slot, r[TOKEN]] = T.bitwise_or(old[0], SEEN | ANSWERED)
        if T.bitwise_and(marks, SHIFTS) != 0:
            value[0] = offsets[slot, r[TOKEN]]
            if T.bitwise_and(old[0], ANSWERED) == 0:
                value[0] = value[0] - setting(settings, slot, Setting.PRESENCE)
            offsets[slot, r[TOKEN]] = value[0] - setting(settings, slot, Setting.FREQUENCY)
