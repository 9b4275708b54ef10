"""The CPU kernels as the model calls them: each method emits calls of scheduled functions.

They belong to one target. A model asks them for the parameters of its matrices (`Matrix`) and,
inside a step, for the fused operations of a transformer layer; what is one kernel and what several
is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant
from ferrylm.schedules.attention_layer import PLAIN_LAYER, LayerAttention, variant_tag
from ferrylm.schedules.concatenate import concatenate
from ferrylm.schedules.cpu import activations, attention, embedding, pack, rope
from ferrylm.schedules.cpu.attention import AttentionShape, query_tile
from ferrylm.schedules.cpu.layout import WeightFormat, padded
from ferrylm.schedules.cpu.matmul import GATES, matmul
from ferrylm.schedules.cpu.matmul_schedule import fitting, schedule_matmul
from ferrylm.schedules.cpu.profile import CpuProfile
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.cpu.tiles import ATTENTION_REGISTER_ROWS, MATMUL_TILES, ROW_TILE
from ferrylm.schedules.post_norm import PostNorm

Tensor = Any

_QUANTIZED = {"x_codes": "codes", "x_terms": "terms"}


@dataclass(frozen=True)
class MatrixStorage:
    """How the canonical weights hold one matrix: q4, q8, f16 or f32, with a minimum or not."""

    rows: int
    columns: int
    storage: str
    minimum: bool = False


class Matrix(nn.Module):  # type: ignore[misc]
    """A weight matrix in the layout of the CPU kernels."""

    def __init__(self, fmt: WeightFormat) -> None:
        super().__init__()
        self.fmt = fmt
        for suffix, (dtype, shape) in fmt.tensors().items():
            setattr(self, suffix, nn.Parameter(shape, dtype))

    def tensors(self) -> list[Tensor]:
        """Return the packed tensors in the order in which kernels take them."""
        return [getattr(self, suffix) for suffix in self.fmt.tensors()]

    def transforms(self) -> dict[str, str]:
        """Return suffix -> the function that packs it from the canonical tensor."""
        return {s: pack.transform_name(self.fmt, s) for s in self.fmt.tensors()}


class CpuKernels:
    """The kernels of one processor profile; `arithmetic` is that of grouped weights."""

    kv_layout = "head_dim_major"  # keys (P, Hkv, D, T), values (P, Hkv, T, D)
    kv_page_multiple = attention.TOKENS
    row_tile = ROW_TILE
    draws = False  # tokens: the host does, which is the same processor
    prefill_chunk = 256  # tokens of one call of prefill

    def __init__(self, profile: CpuProfile, arithmetic: str, shape: AttentionShape) -> None:
        self.profile, self.arithmetic, self.shape = profile, arithmetic, shape
        self._cache: dict[tuple[object, ...], Any] = {}

    def attention_arithmetic(self, rows: Rows, variant: AttentionVariant = PLAIN_ATTENTION) -> str:
        """Return how attention is computed: f32."""
        del rows, variant
        return "f32"

    def product_arithmetic(self, rows: Rows, storage: str, columns: int) -> str:
        """Return how products with such weights are computed: f32, int8 or int16."""
        del rows, columns
        return self.arithmetic if storage in ("q4", "q8") else "f32"

    def matrix(self, storage: MatrixStorage, *, pairs: bool = False) -> Matrix:
        """Return the parameters of a matrix; with `pairs` it is gate and up of a SwiGLU."""
        arithmetic = self.arithmetic if storage.storage in ("q4", "q8") else "f32"
        rows = 2 * padded(storage.rows // 2) if pairs else storage.rows
        return Matrix(
            WeightFormat(rows, storage.columns, storage.storage, storage.minimum, arithmetic, pairs)
        )

    def transform_functions(self, names: set[str]) -> dict[str, Any]:
        """Return the repacking functions of these names."""
        return {name: pack.transform(name) for name in sorted(names)}

    def rows(self, batch: int | None) -> Rows:
        """Return the rows of a decode step of `batch` sequences, or of a prefill chunk (None)."""
        return Rows(ROW_TILE) if batch is None else Rows(min(batch, ROW_TILE), batch)

    def _call(self, rows: Rows, name: str, make: Any, args: list[Any], out: Any) -> Any:
        key = (name, rows.count)
        if key not in self._cache:
            self._cache[key] = make()
        suffix = "prefill" if rows.count is None else f"batch{rows.count}"
        return op.tensor_ir_op(self._cache[key], f"{name}_{suffix}", args, out)

    def embed(self, rows: Rows, tokens: Tensor, table: Matrix) -> Tensor:
        """Look up float32 rows (M, padded(H)) for tokens (tiles, rows of a tile)."""
        m = tokens.shape[0] * tokens.shape[1]
        out = nn.Tensor.placeholder((m, padded(table.fmt.columns)), "float32")
        make = lambda: embedding.embed(rows, table.fmt)  # noqa: E731
        return self._call(rows, "embed", make, [tokens, *table.tensors()], out)

    def norm_linear(
        self,
        rows: Rows,
        x: Tensor,
        gain: Tensor,
        weight: Matrix,
        eps: float,
        epilogue: str,
        bias: Tensor | None = None,
        cap: float = 0.0,
    ) -> Tensor:
        """Apply RMSNorm, then the matrix, then the epilogue.

        That is one of matmul.py; `cap` is that of the epilogue capped.
        """

        def make() -> Any:
            fmt, width = weight.fmt, weight.fmt.columns
            product = self._scheduled_matmul(rows, fmt, epilogue, cap)
            if fmt.integer:
                first = activations.norm_quantize(rows, width, eps, fmt.parts)
                return concatenate(first, product, _QUANTIZED, ("codes", "terms"))
            first = activations.norm(rows, width, eps)
            return concatenate(first, product, {"x": "y"}, ("y",))

        added = [] if bias is None else [bias]
        return self._matmul(rows, f"norm_{epilogue}", make, [x, gain], weight, epilogue, added)

    def linear(
        self,
        rows: Rows,
        x: Tensor,
        weight: Matrix,
        residual: Tensor,
        next_gain: Tensor | None = None,
        post: PostNorm | None = None,
    ) -> Tensor:
        """Apply the matrix, perhaps a norm, and add the residual.

        `next_gain` makes no difference here.
        """
        del next_gain
        epilogue = "residual" if post is None else "plain"

        def make() -> Any:
            product = self._scheduled_matmul(rows, weight.fmt, epilogue)
            if weight.fmt.arithmetic == "f32":
                return product
            first = activations.quantize(rows, weight.fmt.columns, weight.fmt.parts)
            return concatenate(first, product, _QUANTIZED, ("codes", "terms"))

        added = [residual] if post is None else []
        y = self._matmul(rows, epilogue, make, [x], weight, epilogue, added)
        return y if post is None else self._norm_add(rows, y, post, residual, weight.fmt.rows)

    def _norm_add(
        self, rows: Rows, y: Tensor, post: PostNorm, residual: Tensor, width: int
    ) -> Tensor:
        make = lambda: activations.norm_add(rows, width, post.eps)  # noqa: E731
        out = nn.Tensor.placeholder((y.shape[0], padded(width)), "float32")
        return self._call(rows, f"norm_add_{width}", make, [y, post.gain, residual], out)

    def _matmul(
        self,
        rows: Rows,
        name: str,
        make: Any,
        activation: list[Tensor],
        weight: Matrix,
        epilogue: str,
        added: list[Tensor],
    ) -> Tensor:
        fmt = weight.fmt
        m = activation[0].shape[0]
        width = padded(fmt.rows) // (2 if epilogue in GATES else 1)
        out = nn.Tensor.placeholder((m, width), "float32")
        tiles = [m // rows.tile] if rows.count is None else []
        args = [*tiles, *activation, *weight.tensors(), *added]
        return self._call(rows, f"{name}_{fmt.tag}_{fmt.rows}x{fmt.columns}", make, args, out)

    def _scheduled_matmul(
        self, rows: Rows, fmt: WeightFormat, epilogue: str, cap: float = 0.0
    ) -> Any:
        signed = self.profile.signed_weights or (fmt.storage == "q8" and self.profile.saturates)
        pairs = epilogue in GATES
        tile = MATMUL_TILES[self.profile.name][fmt.arithmetic, rows.tile]
        tile = fitting(tile, fmt, pairs=pairs)
        func = matmul(rows, fmt, epilogue, signed_weights=signed, cap=cap)
        return schedule_matmul(func, fmt, tile, self.profile, pairs=pairs)

    def rope_attention(
        self,
        rows: Rows,
        qkv: Tensor,
        step: Any,
        keys: Tensor,
        values: Tensor,
        layer: LayerAttention = PLAIN_LAYER,
    ) -> Tensor:
        """Rotate, append keys and values to their pages, attend; float32 (M, padded(Hq * D))."""
        shape = replace(self.shape, variant=layer.variant)
        width = padded(shape.num_heads * shape.head_dim)
        out = nn.Tensor.placeholder((qkv.shape[0], width), "float32")
        key = ("rope_attention", rows.count, layer.variant)
        if key not in self._cache:
            self._cache[key] = concatenate(
                rope.rope_append(rows, shape, one_sequence=rows.count is None),
                self._attention(rows, shape),
                {n: n for n in ("q", "keys", "values", "tables", "positions")},
                ("q",),
            )
        suffix = "prefill" if rows.count is None else f"batch{rows.count}"
        args = [qkv, step.cos, step.sin, step.positions, step.block_tables, keys, values]
        args += layer.vectors
        name = f"rope_attention{variant_tag(layer.variant)}_{suffix}"
        found = op.tensor_ir_inplace_op(
            self._cache[key], name, args, [5, 6, -1], [keys, values, out]
        )
        return found[2]

    def _attention(self, rows: Rows, shape: AttentionShape) -> Any:
        if rows.count is not None:
            return attention.decode_attention(rows.count, shape)
        tile = query_tile(shape, ATTENTION_REGISTER_ROWS[self.profile.name], ROW_TILE)
        return attention.prefill_attention(rows, replace(shape, query_tile=tile))

    def select_row(self, rows: Rows, x: Tensor, row: Tensor, width: int) -> Tensor:
        """Return row `row[0]` of x as (1, padded(width))."""
        out = nn.Tensor.placeholder((1, padded(width)), "float32")
        make = lambda: embedding.select_row(rows, width)  # noqa: E731
        return self._call(rows, "select_row", make, [x, row], out)

    def checked_linear(
        self,
        rows: Rows,
        x: Tensor,
        weight: Matrix,
        residual: Tensor,
        post: PostNorm | None = None,
    ) -> Tensor:
        """Run `linear` as a step does."""
        return self.linear(rows, x, weight, residual, None, post)

    def expose(self, rows: Rows, activation: Tensor, width: int) -> Tensor:
        """Return an activation as float32 rows, which it is here."""
        del rows, width
        return activation
