"""The GPU kernels as the model calls them: each method emits calls of scheduled functions.

The interface is that of schedules/cpu/kernels.py. A function here may hold several launches, with
what lies between them as its own memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.kernels import MatrixStorage
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu import activations, attention, embedding, rope
from ferrylm.schedules.gpu.attention_plan import BLOCK, AttentionPlan, queries_that_fit
from ferrylm.schedules.gpu.layout import WeightFormat, groups, padded
from ferrylm.schedules.gpu.matvec import matvec
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_tile, matvec_tile, row_threads

Tensor = Any


class Matrix(nn.Module):  # type: ignore[misc]
    """A weight matrix in canonical layout, its codes as 32-bit words."""

    def __init__(self, fmt: WeightFormat) -> None:
        super().__init__()
        self.fmt = fmt
        for suffix, (dtype, shape) in fmt.tensors().items():
            setattr(self, suffix, nn.Parameter(shape, dtype))

    def tensors(self) -> list[Tensor]:
        """Return the tensors in the order in which kernels take them."""
        return [getattr(self, suffix) for suffix in self.fmt.tensors()]

    def transforms(self) -> dict[str, str]:
        """Return nothing: canonical bytes are used as they are."""
        return {}


@dataclass(frozen=True)
class _Quantized:
    codes: Tensor
    terms: Tensor


class GpuKernels:
    """The kernels of one device profile; `arithmetic` is that of grouped weights."""

    kv_page_multiple = BLOCK
    kv_layout = "vector8"
    row_tile = ROW_TILE

    def __init__(self, profile: GpuProfile, arithmetic: str, shape: AttentionShape) -> None:
        self.profile, self.arithmetic, self.shape = profile, arithmetic, shape
        self._cache: dict[tuple[object, ...], Any] = {}

    def matrix(self, storage: MatrixStorage, *, pairs: bool = False) -> Matrix:
        """Return the parameters of a matrix; `pairs` (gate and up) makes no difference here."""
        del pairs
        arithmetic = self.arithmetic if storage.storage in ("q4", "q8") else "f32"
        return Matrix(
            WeightFormat(
                storage.rows, storage.columns, storage.storage, storage.minimum, arithmetic
            )
        )

    def transform_functions(self, names: set[str]) -> dict[str, Any]:
        """Return the repacking functions of these names: there are none."""
        if names:
            raise ValueError(f"GPU kernels repack no weights, asked for {sorted(names)}")
        return {}

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
        threads = row_threads(self.profile, table.fmt.columns)
        make = lambda: embedding.embed(rows, table.fmt, threads)  # noqa: E731
        return self._call(rows, "embed", make, [tokens, *table.tensors()], out)

    def norm_linear(
        self, rows: Rows, x: Tensor, gain: Tensor, weight: Matrix, eps: float, epilogue: str
    ) -> Tensor:
        """Apply RMSNorm, then the matrix, then the epilogue plain or swiglu."""
        width, fmt = weight.fmt.columns, weight.fmt
        threads = row_threads(self.profile, width)
        if fmt.integer:
            activation = self._quantize(rows, x, gain, width, fmt.parts, eps)
        else:
            out = nn.Tensor.placeholder((x.shape[0], padded(width)), "float32")
            make = lambda: activations.norm(rows, width, threads, self.profile.subgroup, eps)  # noqa: E731
            activation = [self._call(rows, f"norm_{width}", make, [x, gain], out)]
        return self._matvec(rows, activation, weight, epilogue, [])

    def linear(self, rows: Rows, x: Tensor, weight: Matrix, residual: Tensor) -> Tensor:
        """Apply the matrix and add the residual."""
        activation = [x]
        if weight.fmt.integer:
            activation = self._quantize(rows, x, None, weight.fmt.columns, weight.fmt.parts, None)
        return self._matvec(rows, activation, weight, "residual", [residual])

    def _quantize(
        self,
        rows: Rows,
        x: Tensor,
        gain: Tensor | None,
        width: int,
        parts: int,
        eps: float | None,
    ) -> list[Tensor]:
        m, g = x.shape[0], groups(width)
        out = [
            nn.Tensor.placeholder((m, 2 * parts, g, 4), "uint32"),
            nn.Tensor.placeholder((m, g, 2), "uint32"),
        ]
        threads, subgroup = row_threads(self.profile, width), self.profile.subgroup
        make = lambda: activations.quantize(rows, width, parts, threads, subgroup, eps)  # noqa: E731
        name = f"{'' if eps is None else 'norm_'}quantize_{width}"
        args = [x] if gain is None else [x, gain]
        found = self._call(rows, name, make, args, out)
        return [found[0], found[1]]

    def _matvec(
        self, rows: Rows, activation: list[Tensor], weight: Matrix, epilogue: str, extra: list[Any]
    ) -> Tensor:
        fmt = weight.fmt
        outputs = padded(fmt.rows // 2 if epilogue == "swiglu" else fmt.rows)
        out = nn.Tensor.placeholder((activation[0].shape[0], outputs), "float32")
        tile = matvec_tile(self.profile, fmt, rows.tile)
        make = lambda: matvec(rows, fmt, epilogue, tile, self.profile.subgroup)  # noqa: E731
        name = f"matvec_{epilogue}_{fmt.tag}_{fmt.rows}x{fmt.columns}"
        return self._call(rows, name, make, [*activation, *weight.tensors(), *extra], out)

    def rope_attention(
        self, rows: Rows, qkv: Tensor, step: Any, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Rotate, append keys and values to their pages, attend; float32 (M, padded(Hq * D))."""
        shape, m = self.shape, qkv.shape[0]
        prefill = rows.count is None
        suffix = "prefill" if prefill else f"batch{rows.count}"
        q = nn.Tensor.placeholder((m, shape.num_heads, shape.head_dim), "float32")
        key = ("rope_append", rows.count)
        if key not in self._cache:
            threads = max(self.profile.subgroup, min(64, shape.head_dim // 2))
            self._cache[key] = rope.rope_append(rows, shape, threads, one_sequence=prefill)
        args = [qkv, step.cos, step.sin, step.positions, step.block_tables, keys, values]
        found = op.tensor_ir_inplace_op(
            self._cache[key], f"rope_append_{suffix}", args, [5, 6, -1], [keys, values, q]
        )
        return self._attention(rows, found[2], found[0], found[1], step)

    def _attention(self, rows: Rows, q: Tensor, keys: Tensor, values: Tensor, step: Any) -> Tensor:
        shape, m = self.shape, q.shape[0]
        prefill = rows.count is None
        tile = attention_tile(self.profile, shape.head_dim, prefill=prefill)
        queries = queries_that_fit(shape, tile, ROW_TILE) if prefill else 1
        plan = AttentionPlan(shape, tile, self.profile.subgroup, queries)
        out = nn.Tensor.placeholder((m, padded(shape.num_heads * shape.head_dim)), "float32")
        args = [q, keys, values, step.block_tables, step.positions]
        if prefill:
            make = lambda: attention.prefill_attention(rows, plan)  # noqa: E731
            return self._call(rows, "attention", make, args, out)
        assert rows.count is not None, "prefill was handled above"
        batch = rows.count
        width, page = step.block_tables.shape[1], keys.shape[3]
        chunks = attention.chunks_of(width, page, plan.chunk)
        partial = nn.Tensor.placeholder(
            (batch * shape.num_kv_heads, chunks, shape.query_heads, shape.head_dim + 2), "float32"
        )
        make = lambda: attention.decode_attention(batch, plan)  # noqa: E731
        partial = self._call(rows, "attention", make, args, partial)
        make = lambda: attention.merge_attention(batch, plan)  # noqa: E731
        return self._call(rows, "merge_attention", make, [partial, step.positions], out)

    def select_row(self, rows: Rows, x: Tensor, row: Tensor, width: int) -> Tensor:
        """Return row `row[0]` of x as (1, padded(width))."""
        out = nn.Tensor.placeholder((1, padded(width)), "float32")
        threads = row_threads(self.profile, width)
        make = lambda: embedding.select_row(rows, width, threads)  # noqa: E731
        return self._call(rows, "select_row", make, [x, row], out)
