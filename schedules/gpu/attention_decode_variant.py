# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""What variants of attention add to a decode step, on GPUs; see attention_decode.py."""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import adjusted, alibi_slope
from ferrylm.schedules.gpu.attention_blocks import MASKED


@T.inline
def begin_softmax(best, total, sinks, own, first_subgroup, lane, plan):  # noqa: D103
    # A sink is a token before all others, whose value is zero. So it enters once, where a sequence
    # begins, and whoever joins subgroups and splits needs to know nothing of it.
    for r in T.unroll(plan.heads):
        if plan.shape.variant.sinks:
            best[r] = T.Select(first_subgroup, sinks[plan.head(own, r)], T.float32(MASKED))
            total[r] = T.Select(T.And(first_subgroup, lane == 0), T.float32(1), T.float32(0))
        else:
            best[r] = T.float32(MASKED)
            total[r] = T.float32(0)


@T.inline
def adjust_scores(scores, distance, own, plan):  # noqa: D103
    for r in T.unroll(plan.heads):
        shape = T.meta_var(plan.shape)
        slope = T.meta_var(alibi_slope(plan.head(own, r), shape.num_heads, shape.variant, T.exp))
        scores[r] = adjusted(scores[r], distance, slope, shape.variant.soft_cap, T.exp)
