"""The CPU kernels as the model calls them: each method emits calls of scheduled functions.

A `Kernels` belongs to one target. A model asks it for the parameters of its matrices (`Matrix`) and,
inside a step, for the fused operations of a transformer layer; what is one kernel and what several
is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.schedules.cpu import activations, attention, embedding, pack, rope
from ferrylm.schedules.cpu.attention import AttentionShape, query_tile
from ferrylm.schedules.cpu.layout import WeightFormat, groups, padded
from ferrylm.schedules.cpu.matmul import matmul
from ferrylm.schedules.cpu.matmul_schedule import fitting, schedule_matmul
from ferrylm.schedules.cpu.profile import CpuProfile
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.cpu.tiles import ATTENTION_REGISTER_ROWS, MATMUL_TILES, ROW_TILE

Tensor = Any


@dataclass(frozen=True)
class MatrixStorage:
    """How the canonical weights hold one matrix: q4, q8, f16 or f32, with a minimum or not."""

    rows: int
    columns: int
    storage: str
    minimum: bool = False


class Matrix(nn.Module):  # type: ignore[misc]
    """A weight matrix in the layout of the CPU kernels; `pairs` alternates gate and up blocks."""

    def __init__(self, fmt: WeightFormat, *, pairs: bool) -> None:
        super().__init__()
        self.fmt, self.pairs = fmt, pairs
        for suffix, (dtype, shape) in fmt.tensors().items():
            setattr(self, suffix, nn.Parameter(shape, dtype))

    def tensors(self) -> list[Tensor]:
        """Return the packed tensors in the order in which kernels take them."""
        return [getattr(self, suffix) for suffix in self.fmt.tensors()]

    def transforms(self) -> dict[str, str]:
        """Return suffix -> the function that packs it from the canonical tensor."""
        return {s: pack.transform_name(self.fmt, s, pairs=self.pairs) for s in self.fmt.tensors()}


class CpuKernels:
    """The kernels of one processor profile; `arithmetic` is int8 or f32 for grouped weights."""

    kv_page_multiple = attention.TOKENS
    row_tile = ROW_TILE

    def __init__(self, profile: CpuProfile, arithmetic: str, shape: AttentionShape) -> None:
        self.profile, self.arithmetic, self.shape = profile, arithmetic, shape
        self._cache: dict[tuple[object, ...], Any] = {}

    def matrix(self, storage: MatrixStorage, *, pairs: bool = False) -> Matrix:
        """Return the parameters of a matrix stored as `storage`."""
        arithmetic = self.arithmetic if storage.storage in ("q4", "q8") else "f32"
        rows = 2 * padded(storage.rows // 2) if pairs else storage.rows
        fmt = WeightFormat(rows, storage.columns, storage.storage, storage.minimum, arithmetic)
        return Matrix(fmt, pairs=pairs)

    def transform_functions(self, names: set[str]) -> dict[str, Any]:
        """Return the repacking functions of these names."""
        table = pack.transforms()
        return {name: table[name](name) for name in sorted(names)}

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

    def norm(self, rows: Rows, x: Tensor, gain: Tensor, width: int, eps: float) -> Tensor:
        """Apply RMSNorm in float32."""
        make = lambda: activations.norm(rows, width, eps)  # noqa: E731
        out = nn.Tensor.placeholder((x.shape[0], padded(width)), "float32")
        return self._call(rows, f"norm_{width}", make, [x, gain], out)

    def _quantized(self, x: Tensor, width: int) -> list[Tensor]:
        g = groups(width)
        return [
            nn.Tensor.placeholder((x.shape[0], g, 32), "int8"),
            nn.Tensor.placeholder((x.shape[0], g, 2), "float32"),
        ]

    def norm_linear(
        self, rows: Rows, x: Tensor, gain: Tensor, weight: Matrix, eps: float, epilogue: str
    ) -> Tensor:
        """Apply RMSNorm, then the matrix, then the epilogue plain or swiglu."""
        width = weight.fmt.columns
        if weight.fmt.arithmetic == "f32":
            activation = [self.norm(rows, x, gain, width, eps)]
        else:
            make = lambda: activations.norm_quantize(rows, width, eps)  # noqa: E731
            out = self._quantized(x, width)
            activation = list(self._call(rows, f"norm_quantize_{width}", make, [x, gain], out))
        return self._matmul(rows, activation, weight, epilogue, None)

    def linear(self, rows: Rows, x: Tensor, weight: Matrix, residual: Tensor) -> Tensor:
        """Apply the matrix and add the residual."""
        activation = [x]
        if weight.fmt.arithmetic == "int8":
            width = weight.fmt.columns
            make = lambda: activations.quantize(rows, width)  # noqa: E731
            out = self._quantized(x, width)
            activation = list(self._call(rows, f"quantize_{width}", make, [x], out))
        return self._matmul(rows, activation, weight, "residual", residual)

    def _matmul(
        self,
        rows: Rows,
        activation: list[Tensor],
        weight: Matrix,
        epilogue: str,
        residual: Tensor | None,
    ) -> Tensor:
        fmt = weight.fmt
        width = padded(fmt.rows) // (2 if epilogue == "swiglu" else 1)
        out = nn.Tensor.placeholder((activation[0].shape[0], width), "float32")
        tiles = [activation[0].shape[0] // rows.tile] if rows.count is None else []
        extra = [] if residual is None else [residual]
        name = f"matmul_{epilogue}_{fmt.tag}_{fmt.rows}x{fmt.columns}"
        make = lambda: self._scheduled_matmul(rows, fmt, epilogue)  # noqa: E731
        return self._call(rows, name, make, [*tiles, *activation, *weight.tensors(), *extra], out)

    def _scheduled_matmul(self, rows: Rows, fmt: WeightFormat, epilogue: str) -> Any:
        signed = self.profile.signed_weights or (fmt.storage == "q8" and self.profile.saturates)
        pairs = epilogue == "swiglu"
        tile = MATMUL_TILES[self.profile.name, fmt.arithmetic, rows.tile]
        tile = fitting(tile, padded(fmt.rows) // 16, pairs=pairs)
        func = matmul(rows, fmt, epilogue, signed_weights=signed)
        return schedule_matmul(func, fmt, tile, self.profile, pairs=pairs)

    def rope_append(
        self, rows: Rows, qkv: Tensor, step: Any, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotate queries and keys, append keys and values; return (keys, values, queries)."""
        shape = self.shape
        m = qkv.shape[0]
        q = nn.Tensor.placeholder((m, shape.num_heads, shape.head_dim), "float32")
        key = ("rope_append", rows.count)
        if key not in self._cache:
            self._cache[key] = rope.rope_append(rows, shape, one_sequence=rows.count is None)
        suffix = "prefill" if rows.count is None else f"batch{rows.count}"
        args = [qkv, step.cos, step.sin, step.positions, step.block_tables, keys, values]
        found = op.tensor_ir_inplace_op(
            self._cache[key], f"rope_append_{suffix}", args, [5, 6, -1], [keys, values, q]
        )
        return found[0], found[1], found[2]

    def attention(
        self, rows: Rows, q: Tensor, step: Any, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Attend over the pages; float32 (M, padded(Hq * D))."""
        shape = self.shape
        out = nn.Tensor.placeholder(
            (q.shape[0], padded(shape.num_heads * shape.head_dim)), "float32"
        )
        args = [q, keys, values, step.block_tables, step.positions]
        return self._call(rows, "attention", lambda: self._attention(rows), args, out)

    def _attention(self, rows: Rows) -> Any:
        if rows.count is not None:
            return attention.decode_attention(rows.count, self.shape)
        tile = query_tile(self.shape, ATTENTION_REGISTER_ROWS[self.profile.name], ROW_TILE)
        shape = AttentionShape(
            self.shape.num_heads,
            self.shape.num_kv_heads,
            self.shape.head_dim,
            self.shape.kv_dtype,
            tile,
        )
        return attention.prefill_attention(rows, shape)

    def select_row(self, rows: Rows, x: Tensor, row: Tensor, width: int) -> Tensor:
        """Return row `row[0]` of x as (1, padded(width))."""
        out = nn.Tensor.placeholder((1, padded(width)), "float32")
        make = lambda: embedding.select_row(rows, width)  # noqa: E731
        return self._call(rows, "select_row", make, [x, row], out)
