"""The calls of attention: one kernel of a decode step, two for awkward shapes; two of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu import embedding
from ferrylm.schedules.gpu.attention_decode import decode_attention
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
from ferrylm.schedules.gpu.attention_merge import merge_attention
from ferrylm.schedules.gpu.attention_prefill import prefill_kernel
from ferrylm.schedules.gpu.layout import ActivationLayout
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.rope import rope_append
from ferrylm.schedules.gpu.tiles import decode_tile, row_threads

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
        self.plan = DecodePlan(self.shape, decode_tile(self.profile), self.profile.subgroup)
        self._kernels: dict[tuple[int, bool], Any] = {}
        self._zeroed: tuple[Tensor, Tensor] | None = None

    def counters(self, batch: int) -> Tensor:
        """Return the placeholder of the counters that a step's first kernel zeroes."""
        return nn.Tensor.placeholder((batch, self.plan.tasks), "int32")

    def zeroed(self, tokens: Tensor, counters: Tensor) -> None:
        """Say that the step of these tokens has these counters, all zero."""
        self._zeroed = (tokens, counters)

    def merges(self, layout: ActivationLayout | None) -> bool:
        """Return whether the workgroups of attention merge their results themselves."""
        return layout is None or self.plan.whole_groups

    def emit(
        self,
        rows: Any,
        qkv: Tensor,
        step: Any,
        keys: Tensor,
        values: Tensor,
        head_gains: Tensor | None,
        layout: ActivationLayout | None,
        out: list[Tensor],
    ) -> list[Tensor]:
        """Rotate, append, attend; return float32 rows, or codes and terms, shaped as `out`."""
        batch, plan, merged = rows.count, self.plan, self.merges(layout)
        key = (batch, merged)
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
        args += [] if head_gains is None else [head_gains]
        # The counters are no result: the kernel leaves them as it found them.
        more = [self._counters(rows, step.tokens)] if merged else []
        made = [partial, *out] if merged else [partial]
        found = op.tensor_ir_inplace_op(
            self._kernels[key],
            f"rope_attention_batch{batch}",
            [*args, *more],
            [5, 6, *(-1 for _ in made)],
            [keys, values, *made],
        )
        if merged:
            return list(found[3:])
        make = lambda: merge_attention(batch, plan, layout)  # noqa: E731
        joined = self.call(rows, "merge_attention", make, [found[2], step.positions], out)
        return list(joined)

    def _counters(self, rows: Any, tokens: Tensor) -> Tensor:
        """Return the step's counters; where attention is all of the step they are zeroed here."""
        if self._zeroed is not None and self._zeroed[0] is tokens:
            return self._zeroed[1]
        batch, tasks, threads = rows.count, self.plan.tasks, self.profile.subgroup
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
        self._rope: Any = None

    def emit(
        self,
        rows: Any,
        qkv: Tensor,
        step: Any,
        keys: Tensor,
        values: Tensor,
        head_gains: Tensor | None,
        out: Tensor,
    ) -> Tensor:
        """Rotate, append, attend; return float32 rows, shaped as `out`."""
        profile, shape = self.profile, self.shape
        q = nn.Tensor.placeholder((qkv.shape[0], shape.num_heads, shape.head_dim), "float32")
        if self._rope is None:
            threads = row_threads(profile, int(qkv.shape[1]))
            self._rope = self.launched(rope_append(rows, shape, threads, profile.subgroup))
        args = [qkv, step.cos, step.sin, step.positions, step.block_tables, keys, values]
        args += [] if head_gains is None else [head_gains]
        found = op.tensor_ir_inplace_op(
            self._rope, "rope_append_prefill", args, [5, 6, -1], [keys, values, q]
        )
        args = [found[2], found[0], found[1], step.block_tables, step.positions]
        make = lambda: prefill_kernel(profile, shape, rows)  # noqa: E731
        return self.call(rows, "attention", make, args, out)
