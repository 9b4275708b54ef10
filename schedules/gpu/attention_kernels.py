"""The calls of attention: one kernel of a decode step, two for awkward shapes; two of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.schedules.attention_layer import LayerAttention, variant_tag
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu import embedding
from ferrylm.schedules.gpu.attention_decode import decode_attention
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.attention_merge import merge_attention
from ferrylm.schedules.gpu.attention_prefill import prefill_kernel
from ferrylm.schedules.gpu.layout import ActivationLayout
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.rope import rope_append
from ferrylm.schedules.gpu.tiles import attention_in_halves, decode_plan, row_threads

Tensor = Any


@dataclass
class DecodeAttention:
    """Emits attention of decode steps for one profile and shape.

    `launched` gives a kernel as the device launches it; `call` emits one that changes no argument.
    """

    profile: GpuProfile
    shape: AttentionShape
    launched: Callable[[Any], Any]
    call: Callable[..., Any]

    def __post_init__(self) -> None:
        self._kernels: dict[tuple[int, bool, AttentionVariant], Any] = {}
        self._zeroed: tuple[Tensor, Tensor] | None = None

    def plan(self, batch: int) -> DecodePlan:
        """Return how workgroups share the work of a step of so many sequences."""
        return decode_plan(self.profile, self.shape, batch)

    def counters(self, batch: int) -> Tensor:
        """Return the placeholder of the counters that a step's first kernel zeroes."""
        return nn.Tensor.placeholder((batch, self.plan(batch).tasks), "int32")

    def zeroed(self, tokens: Tensor, counters: Tensor) -> None:
        """Say that the step of these tokens has these counters, all zero."""
        self._zeroed = (tokens, counters)

    def merges(self, batch: int, layout: ActivationLayout | None) -> bool:
        """Return whether the workgroups of attention merge their results themselves."""
        return layout is None or self.plan(batch).whole_groups

    def emit(
        self,
        rows: Any,
        qkv: Tensor,
        step: Any,
        keys: Tensor,
        values: Tensor,
        layer: LayerAttention,
        layout: ActivationLayout | None,
        out: list[Tensor],
    ) -> list[Tensor]:
        """Rotate, append, attend; return float32 rows, or codes and terms, shaped as `out`."""
        batch, variant = rows.count, layer.variant
        merged = self.merges(batch, layout)
        plan = replace(self.plan(batch), shape=replace(self.shape, variant=variant))
        key = (batch, merged, variant)
        if key not in self._kernels:
            func = decode_attention(
                batch,
                plan,
                layout if merged else None,
                merged=merged,
                overlap=self.profile.overlap,
            )
            self._kernels[key] = self.launched(func)
        partial = nn.Tensor.placeholder(
            (batch * plan.tasks, plan.splits, plan.partial_width), "float32"
        )
        args = [qkv, step.cos, step.sin, step.positions, step.block_tables, keys, values]
        args += layer.vectors
        # The counters are no result: the kernel leaves them as it found them.
        more = [self._counters(rows, step.tokens)] if merged else []
        made = [partial, *out] if merged else [partial]
        found = op.tensor_ir_inplace_op(
            self._kernels[key],
            f"rope_attention{variant_tag(variant)}_batch{batch}",
            [*args, *more],
            [5, 6, *(-1 for _ in made)],
            [keys, values, *made],
        )
        if merged:
            return list(found[3:])
        make = lambda: merge_attention(batch, plan, layout)  # noqa: E731
        name = f"merge_attention{variant_tag(variant)}"
        joined = self.call(rows, name, make, [found[2], step.positions], out)
        return list(joined)

    def _counters(self, rows: Any, tokens: Tensor) -> Tensor:
        """Return the step's counters; where attention is all of the step they are zeroed here."""
        if self._zeroed is not None and self._zeroed[0] is tokens:
            return self._zeroed[1]
        batch, threads = rows.count, self.profile.subgroup
        tasks = self.plan(batch).tasks
        make = lambda: embedding.zero_counters(batch, tasks, threads)  # noqa: E731
        return self.call(rows, "zero_counters", make, [], self.counters(batch))


@dataclass
class PromptAttention:
    """Emits attention of a prompt's chunk for one profile and shape, as DecodeAttention does."""

    profile: GpuProfile
    shape: AttentionShape
    launched: Callable[[Any], Any]
    call: Callable[..., Any]

    def __post_init__(self) -> None:
        self._ropes: dict[tuple[float, int], Any] = {}  # by the scale of scores and the angles

    def emit(
        self,
        rows: Any,
        qkv: Tensor,
        step: Any,
        keys: Tensor,
        values: Tensor,
        layer: LayerAttention,
        out: Tensor,
    ) -> Tensor:
        """Rotate, append, attend; return float32 rows, shaped as `out`."""
        profile, variant = self.profile, layer.variant
        shape = replace(self.shape, variant=variant)
        q = nn.Tensor.placeholder((qkv.shape[0], shape.num_heads, shape.head_dim), "float32")
        key = (shape.score_scale, shape.first_angle)
        if key not in self._ropes:
            threads = row_threads(profile, int(qkv.shape[1]))
            func = rope_append(rows, shape, threads, profile.subgroup)
            self._ropes[key] = self.launched(func)
        args = [qkv, step.cos, step.sin, step.positions, step.block_tables, keys, values]
        args += [] if layer.head_gains is None else [layer.head_gains]
        found = op.tensor_ir_inplace_op(
            self._ropes[key], "rope_append_prefill", args, [5, 6, -1], [keys, values, q]
        )
        args = [found[2], found[0], found[1], step.block_tables, step.positions]
        args += [] if layer.sinks is None else [layer.sinks]
        make = lambda: prefill_kernel(profile, shape, rows)  # noqa: E731
        units = "_f16" if attention_in_halves(profile, shape) else ""
        return self.call(rows, f"attention{units}{variant_tag(variant)}", make, args, out)
