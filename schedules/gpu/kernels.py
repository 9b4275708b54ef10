"""The GPU kernels as the model calls them: each method emits calls of scheduled functions.

The interface is that of schedules/cpu/kernels.py, but an activation may be `Prepared`: a kernel
quantizes its results for the product that follows, so that a layer of a decode step is five
launches: qkv; RoPE, append and attention; output projection; gate and up; down.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm.relax.frontend import nn

from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant
from ferrylm.schedules.attention_layer import PLAIN_LAYER, LayerAttention
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu import embedding
from ferrylm.schedules.gpu.attention_kernels import DecodeAttention, PromptAttention
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.layout import ActivationLayout, padded
from ferrylm.schedules.gpu.overlap import leading
from ferrylm.schedules.gpu.prepared import Prepared, plain
from ferrylm.schedules.gpu.product_kernels import ProductKernels
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.sampling import emit_draw
from ferrylm.schedules.gpu.tiles import (
    ROW_TILE,
    attention_in_halves,
    on_matrix_units,
    prefill_chunk,
    row_threads,
)
from ferrylm.schedules.gpu.weight_matrix import Matrix

Tensor = Any


class GpuKernels(ProductKernels):
    """The kernels of one device profile; `arithmetic` is that of grouped weights."""

    kv_page_multiple = BLOCK
    kv_layout = "vector8"
    row_tile = ROW_TILE
    draws = True

    def __init__(
        self, profile: GpuProfile, arithmetic: str, shape: AttentionShape, *, rounded: bool = False
    ) -> None:
        super().__init__(profile, arithmetic, rounded=rounded)
        self.shape = shape
        self._attention = DecodeAttention(profile, shape, self._launched, self._call)
        self._prompt_attention = PromptAttention(profile, shape, self._launched, self._call)

    @property
    def prefill_chunk(self) -> int:
        """Return how many tokens one call of prefill takes at most."""
        return prefill_chunk(self.profile)

    def attention_arithmetic(self, rows: Rows, variant: AttentionVariant = PLAIN_ATTENTION) -> str:
        """Return how attention is computed: f32 or f16."""
        shape = replace(self.shape, variant=variant)
        return "f16" if rows.count is None and attention_in_halves(self.profile, shape) else "f32"

    def transform_functions(self, names: set[str]) -> dict[str, Any]:
        """Return the repacking functions of these names: there are none."""
        if names:
            raise ValueError(f"GPU kernels repack no weights, asked for {sorted(names)}")
        return {}

    def rows(self, batch: int | None) -> Rows:
        """Return the rows of a decode step of `batch` sequences, or of a prefill chunk (None)."""
        return Rows(ROW_TILE) if batch is None else Rows(min(batch, ROW_TILE), batch)

    def _first(self, func: Any) -> Any:
        """Return a step's first kernel as it is launched on this device."""
        return leading(func) if self.profile.overlap else func

    def embed(self, rows: Rows, tokens: Tensor, table: Matrix) -> Tensor:
        """Look up float32 rows (M, padded(H)) for tokens (tiles, rows of a tile)."""
        m = tokens.shape[0] * tokens.shape[1]
        out = nn.Tensor.placeholder((m, padded(table.fmt.columns)), "float32")
        threads = row_threads(self.profile, table.fmt.columns)
        attention, args = self._attention, [tokens, *table.tensors()]
        if rows.count is None:
            make = lambda: self._first(embedding.embed(rows, table.fmt, threads))  # noqa: E731
            return self._call(rows, "embed", make, args, out)
        tasks = attention.plan(rows.count).tasks
        make = lambda: self._first(embedding.embed(rows, table.fmt, threads, tasks))  # noqa: E731
        counters, x = self._call(rows, "embed", make, args, [attention.counters(rows.count), out])
        attention.zeroed(tokens, counters)
        return x

    def rope_attention(
        self,
        rows: Rows,
        qkv: Tensor,
        step: Any,
        keys: Tensor,
        values: Tensor,
        layer: LayerAttention = PLAIN_LAYER,
    ) -> Any:
        """Rotate, append keys and values to their pages, attend; rows of padded(Hq * D)."""
        shape, m = self.shape, qkv.shape[0]
        width = shape.num_heads * shape.head_dim
        out = nn.Tensor.placeholder((m, padded(width)), "float32")
        halved = on_matrix_units(self.profile, rows)
        if rows.count is not None:
            layout = ActivationLayout(width, self._parts) if self._parts and not halved else None
            outs = [out] if layout is None else self._quantized(m, width)
            found = self._attention.emit(rows, qkv, step, keys, values, layer, layout, outs)
            return found[0] if layout is None else Prepared(found[0], found[1], m, width)
        return self._prompt_attention.emit(rows, qkv, step, keys, values, layer, out)

    def select_row(self, rows: Rows, x: Any, row: Tensor, width: int) -> Tensor:
        """Return row `row[0]` of x as (1, padded(width))."""
        out = nn.Tensor.placeholder((1, padded(width)), "float32")
        threads = row_threads(self.profile, width)
        make = lambda: embedding.select_row(rows, width, threads)  # noqa: E731
        return self._call(rows, "select_row", make, [plain(x), row], out)

    def draw(self, vocabulary: int, logits: Tensor, step: Any, state: Any) -> Tensor:
        """Draw each row's token and make all ready for the next step; return the ring."""
        return emit_draw(self.profile, self._launched, vocabulary, logits, step, state)
