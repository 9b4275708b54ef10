"""The GPU kernels as the model calls them: each method emits calls of scheduled functions.

The interface is that of schedules/cpu/kernels.py, but an activation may be `Prepared`: a kernel
quantizes its results for the product that follows, so that a layer of a decode step is five
launches: qkv; RoPE, append and attention; output projection; gate and up; down.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant
from ferrylm.schedules.attention_layer import PLAIN_LAYER, LayerAttention
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.kernels import MatrixStorage
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu import activations, embedding
from ferrylm.schedules.gpu import expose as exposing
from ferrylm.schedules.gpu.attention_kernels import DecodeAttention, PromptAttention
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.cooperative_kernels import CooperativeKernels
from ferrylm.schedules.gpu.halves_kernels import HalvesKernels
from ferrylm.schedules.gpu.layout import ActivationLayout, WeightFormat, padded
from ferrylm.schedules.gpu.matvec import Product, matvec
from ferrylm.schedules.gpu.matvec_choice import operation_name
from ferrylm.schedules.gpu.matvec_grid import PAIRED
from ferrylm.schedules.gpu.overlap import LAUNCH_PARAMS, leading, overlapped
from ferrylm.schedules.gpu.prepared import Halves, Prepared, has_floats, plain
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.sampling import emit_draw
from ferrylm.schedules.gpu.tiles import (
    ROW_TILE,
    attention_in_halves,
    in_halves,
    matvec_tile,
    on_matrix_units,
    prefill_chunk,
    row_threads,
)
from ferrylm.schedules.gpu.weight_matrix import Matrix

Tensor = Any


class GpuKernels:
    """The kernels of one device profile; `arithmetic` is that of grouped weights."""

    kv_page_multiple = BLOCK
    kv_layout = "vector8"
    row_tile = ROW_TILE
    draws = True

    def __init__(self, profile: GpuProfile, arithmetic: str, shape: AttentionShape) -> None:
        self.profile, self.arithmetic, self.shape = profile, arithmetic, shape
        self._parts = {"int8": 1, "int16": 2, "f32": 0}[arithmetic]
        self._cache: dict[tuple[object, ...], Any] = {}
        halves = HalvesKernels if profile.cooperative is None else CooperativeKernels
        self._halves = halves(profile, self._call)
        self._attention = DecodeAttention(profile, shape, self._launched, self._call)
        self._prompt_attention = PromptAttention(profile, shape, self._launched, self._call)

    def matrix(self, storage: MatrixStorage, *, pairs: bool = False) -> Matrix:
        """Return the parameters of a matrix; `pairs` (gate and up) makes no difference here."""
        del pairs
        arithmetic = self.arithmetic if storage.storage in ("q4", "q8") else "f32"
        rows, columns, kind = storage.rows, storage.columns, storage.storage
        return Matrix(WeightFormat(rows, columns, kind, storage.minimum, arithmetic))

    @property
    def prefill_chunk(self) -> int:
        """Return how many tokens one call of prefill takes at most."""
        return prefill_chunk(self.profile)

    def attention_arithmetic(self, rows: Rows, variant: AttentionVariant = PLAIN_ATTENTION) -> str:
        """Return how attention is computed: f32 or f16."""
        shape = replace(self.shape, variant=variant)
        return "f16" if rows.count is None and attention_in_halves(self.profile, shape) else "f32"

    def product_arithmetic(self, rows: Rows, storage: str) -> str:
        """Return how products with weights of a storage are computed: f32, int8, int16 or f16."""
        if storage not in ("q4", "q8") or self._parts == 0:
            return "f32"
        fmt = WeightFormat(1, 1, storage, False, self.arithmetic)
        return "f16" if in_halves(self.profile, rows, fmt) else self.arithmetic

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
            self._cache[key] = self._launched(make())
        suffix = "prefill" if rows.count is None else f"batch{rows.count}"
        return op.tensor_ir_op(self._cache[key], f"{name}_{suffix}", args, out)

    def _launched(self, func: Any) -> Any:
        """Return the kernel as it is launched on this device."""
        ready = LAUNCH_PARAMS in func.attrs
        return overlapped(func) if self.profile.overlap and not ready else func

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
        tasks = attention.plan.tasks
        make = lambda: self._first(embedding.embed(rows, table.fmt, threads, tasks))  # noqa: E731
        counters, x = self._call(rows, "embed", make, args, [attention.counters(rows.count), out])
        attention.zeroed(tokens, counters)
        return x

    def norm_linear(
        self,
        rows: Rows,
        x: Any,
        gain: Tensor,
        weight: Matrix,
        eps: float,
        epilogue: str,
        bias: Tensor | None = None,
    ) -> Any:
        """Apply RMSNorm, then the matrix, then the epilogue plain, bias, swiglu or geglu.

        The result of the last two is Prepared where the arithmetic is an integer one.
        """
        width, fmt = weight.fmt.columns, weight.fmt
        if in_halves(self.profile, rows, fmt):
            return self._halves.norm_linear(rows, plain(x), gain, weight, eps, epilogue, bias)
        added = [] if bias is None else [bias]
        if not fmt.integer:
            out = nn.Tensor.placeholder((plain(x).shape[0], padded(width)), "float32")
            threads = row_threads(self.profile, width)
            make = lambda: activations.norm(rows, width, threads, self.profile.subgroup, eps)  # noqa: E731
            normed = self._call(rows, f"norm_{width}", make, [plain(x), gain], out)
            product = Product(rows, fmt, epilogue)
            return self._matvec(rows, normed.shape[0], product, [normed], weight, added)
        prepared = self._prepare(rows, x, gain, width)
        parts = self._parts if epilogue in PAIRED else 0
        product = Product(rows, fmt, epilogue, eps, parts)
        inputs = [prepared.codes, prepared.terms]
        return self._matvec(rows, prepared.m, product, inputs, weight, added)

    def linear(
        self, rows: Rows, x: Any, weight: Matrix, residual: Any, next_gain: Tensor | None = None
    ) -> Any:
        """Apply the matrix and add the residual.

        `next_gain` is the gain of the norm that comes next; with it the result may be Prepared.
        """
        fmt, added = weight.fmt, plain(residual)
        m = added.shape[0]
        if in_halves(self.profile, rows, fmt):
            return self._halves.linear(rows, x, weight, added)
        if not fmt.integer:
            x = plain(x) if has_floats(x) else self.expose(rows, x, x.width)
            product = Product(rows, fmt, "residual")
            return self._matvec(rows, m, product, [x], weight, [added])
        prepared = self._prepare(rows, x, None, fmt.columns)
        parts = 0 if next_gain is None else self._parts
        product = Product(rows, fmt, "residual", None, parts, parts > 0)
        inputs = [prepared.codes, prepared.terms]
        return self._matvec(rows, m, product, inputs, weight, [added], next_gain)

    def _prepare(self, rows: Rows, x: Any, gain: Tensor | None, width: int) -> Prepared:
        """Return x quantized for a product, by a kernel of its own unless its maker did it."""
        if isinstance(x, Prepared):
            if x.gain is not gain:
                raise ValueError("activations were prepared for another norm")
            return x
        threads, subgroup = row_threads(self.profile, width), self.profile.subgroup
        gained, layout = gain is not None, ActivationLayout(width, self._parts)

        def make() -> Any:
            return activations.quantize(rows, layout, threads, subgroup, gained=gained)

        name = f"quantize_{'gained_' if gained else ''}{width}"
        args = [x] if gain is None else [x, gain]
        found = self._call(rows, name, make, args, self._quantized(x.shape[0], width))
        return Prepared(found[0], found[1], x.shape[0], width, x, gain)

    def _quantized(self, m: Any, width: int) -> list[Tensor]:
        layout = ActivationLayout(width, self._parts)
        shapes = (layout.codes_shape(m), layout.terms_shape(m))
        return [nn.Tensor.placeholder(shape, "uint32") for shape in shapes]

    def _matvec(
        self,
        rows: Rows,
        m: Any,
        product: Product,
        activation: list[Tensor],
        weight: Matrix,
        added: list[Tensor],
        gain: Tensor | None = None,
    ) -> Any:
        out: list[Tensor] = []
        if product.kept:
            out.append(nn.Tensor.placeholder((m, padded(product.outputs)), "float32"))
        if product.parts:
            out += self._quantized(m, product.outputs)
        gains = [gain] if product.gained else []
        args = [*activation, *weight.tensors(), *added, *gains]
        profile = self.profile

        def make() -> Any:
            return matvec(
                product,
                matvec_tile(profile, product),
                profile.subgroup,
                overlap=profile.overlap,
                rows_in_lanes=profile.rows_in_lanes,
            )

        outs = out if len(out) > 1 else out[0]
        found = self._call(rows, operation_name(product), make, args, outs)
        if not product.parts:
            return found
        x = found[0] if product.kept else None
        codes, terms = found[len(out) - 2], found[len(out) - 1]
        return Prepared(codes, terms, m, product.outputs, x, gain)

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

    def checked_linear(self, rows: Rows, x: Tensor, weight: Matrix, residual: Tensor) -> Tensor:
        """Run `linear` as a step does, prepared for a norm of some gain; return float32 rows."""
        width = weight.fmt.rows
        vector = nn.Tensor.placeholder((width,), "float32")
        threads = row_threads(self.profile, width)
        make = lambda: exposing.first_row(rows, width, threads)  # noqa: E731
        gain = self._call(rows, f"first_row_{width}", make, [residual], vector)
        return self.expose(rows, self.linear(rows, x, weight, residual, gain), width)

    def expose(self, rows: Rows, activation: Any, width: int) -> Tensor:
        """Return an activation as float32 rows; NaN where it contradicts itself."""
        if isinstance(activation, Halves):
            return self._halves.expose(rows, activation)
        if not isinstance(activation, Prepared):
            return activation
        kept, threads = activation.x is not None, row_threads(self.profile, width)
        subgroup, layout = self.profile.subgroup, ActivationLayout(width, self._parts)

        def make() -> Any:
            return exposing.expose(rows, layout, threads, subgroup, kept=kept)

        out = nn.Tensor.placeholder((activation.m, padded(width)), "float32")
        extra = [activation.x, activation.gain] if kept else []
        args = [activation.codes, activation.terms, *extra]
        return self._call(rows, f"expose_{'kept_' if kept else ''}{width}", make, args, out)
