# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""What variants of attention add to attention on matrix units; see attention_matrix.py.

Scores are in units of log 2 there: queries were multiplied by log2(e).
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import adjusted, alibi_slope
from ferrylm.schedules.gpu.attention_blocks import MASKED
from ferrylm.schedules.gpu.attention_matrix_blocks import LOG2_E, WEIGHT_BITS
from ferrylm.schedules.gpu.attention_matrix_operations import exp2_approximate
from ferrylm.schedules.gpu.attention_matrix_plan import COLUMNS, MatrixAttentionPlan

# Where a softmax begins whose first steps a window may hide: 2^(MASKED - this) is 0.
_NOTHING_YET = MASKED / 2


def exponential(x: Any) -> Any:
    """Return e^x."""
    return exp2_approximate(x * T.float32(LOG2_E))


def takes_part(first: Any, reach: Any, plan: MatrixAttentionPlan) -> Any:
    """Return whether some row of a subgroup sees some token of the step that begins at `first`."""
    window = plan.shape.variant.window_tokens
    if window is None:
        return first <= reach[1]
    return T.And(first <= reach[1], first + plan.tokens > reach[0] - T.int32(window - 1))


def needs_mask(first: Any, reach: Any, plan: MatrixAttentionPlan) -> Any:
    """Return whether some row of a subgroup does not see some token of the step."""
    window = plan.shape.variant.window_tokens
    late = first + plan.tokens > reach[0] + 1
    return late if window is None else T.Or(late, first <= reach[1] - T.int32(window))


@T.inline
def begin_row(largest, total, i, sinks, head, thread, plan):  # noqa: D103
    # A sink is a token before all others, whose value is zero; one of a row's four lanes has it.
    variant = T.meta_var(plan.shape.variant)
    if variant.sinks:
        largest[i] = sinks[head] * T.float32(LOG2_E)
        total[i] = T.Select(thread % 4 == 0, T.float32(1 << WEIGHT_BITS), T.float32(0))
    else:
        largest[i] = T.float32(MASKED if variant.window_tokens is None else _NOTHING_YET)
        total[i] = T.float32(0)


@T.inline
def adjust(scores, position, thread, first, head, plan):  # noqa: D103
    variant = T.meta_var(plan.shape.variant)
    slope = T.alloc_buffer((1,), "float32", scope="local")
    cap = T.meta_var(None if variant.soft_cap is None else variant.soft_cap * LOG2_E)
    if variant.alibi:
        slope[0] = alibi_slope(head, plan.shape.num_heads, variant, exponential) * T.float32(LOG2_E)
    for f in T.unroll(plan.tile.fragments):
        for n in T.unroll(plan.score_tiles):
            for i in T.unroll(4):
                token = T.meta_var(first + n * COLUMNS + thread % 4 * 2 + i % 2)
                scores[plan.score(f, n) + i] = adjusted(
                    scores[plan.score(f, n) + i],
                    token - position[2 * f + i // 2],
                    slope[0] if variant.alibi else None,
                    cap,
                    exponential,
                )
