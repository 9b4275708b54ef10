"""The two kernels that draw tokens, as a step calls them; runtime/draw_layout.py has the tensors.

adjust_logits, on many workgroups, then draw_tokens, on one for each row. They serve all batches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.sampling_adjust import adjust
from ferrylm.schedules.gpu.sampling_draw import draw
from ferrylm.schedules.gpu.sampling_plan import DrawPlan, draw_plan

Tensor = Any

_FIRST_CHANGED = 7  # of draw's arguments, all from here on are updated in place


@lru_cache(maxsize=8)
def _kernels(plan: DrawPlan) -> tuple[Any, Any]:
    return adjust(plan), draw(plan)


def emit_draw(
    profile: GpuProfile,
    launched: Callable[[Any], Any],
    vocabulary: int,
    logits: Tensor,
    step: Any,
    state: Any,
) -> Tensor:
    """Draw a token for each row of float32 logits (B, padded(V)); return the ring.

    `launched` makes a kernel what this device launches; `step` has tokens and positions, `state`
    the other tensors that a draw reads and changes.
    """
    plan = draw_plan(profile, vocabulary)
    adjusting, drawing = (launched(func) for func in _kernels(plan))
    batch = logits.shape[0]
    scratch = [
        nn.Tensor.placeholder((batch, plan.padded), "int32"),
        nn.Tensor.placeholder((batch, plan.slices, 4), "int32"),
        nn.Tensor.placeholder((batch, plan.slices), "float32"),
    ]
    inputs = [logits, state.slots, state.settings, state.seen, state.offsets]
    scratch = op.tensor_ir_op(adjusting, "adjust_logits", inputs, scratch)
    changed = [
        *(step.tokens, step.positions, state.steps, state.drawn, state.seen, state.offsets),
        state.ring,
    ]
    arguments = [logits, *scratch, state.slots, state.settings, state.uniforms, *changed]
    places = list(range(_FIRST_CHANGED, len(arguments)))
    found = op.tensor_ir_inplace_op(drawing, "draw_tokens", arguments, places, changed)
    return found[-1]
