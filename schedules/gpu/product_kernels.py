"""The products of a model on GPUs, as calls of scheduled functions, with what prepares them."""

from __future__ import annotations

from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from ferrylm.schedules.cpu.kernels import MatrixStorage
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu import activations
from ferrylm.schedules.gpu import expose as exposing
from ferrylm.schedules.gpu.cooperative_kernels import CooperativeKernels
from ferrylm.schedules.gpu.halves_kernels import HalvesKernels
from ferrylm.schedules.gpu.layout import ActivationLayout, WeightFormat, padded
from ferrylm.schedules.gpu.matvec import Product, matvec
from ferrylm.schedules.gpu.matvec_choice import operation_name
from ferrylm.schedules.gpu.matvec_grid import PAIRED
from ferrylm.schedules.gpu.matvec_small import leaves_floats, rounds_itself
from ferrylm.schedules.gpu.norm_add import norm_add
from ferrylm.schedules.gpu.overlap import LAUNCH_PARAMS, overlapped
from ferrylm.schedules.gpu.prepared import Halves, Prepared, has_floats, plain
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.tiles import in_halves, matvec_tile, plain_in_halves, row_threads
from ferrylm.schedules.gpu.weight_matrix import Matrix
from ferrylm.schedules.post_norm import PostNorm

Tensor = Any


class ProductKernels:
    """Products with the weights of one device profile; `arithmetic` is that of grouped weights.

    With `rounded` activations that meet float16 weights may be rounded to float16, too.
    """

    def __init__(self, profile: GpuProfile, arithmetic: str, *, rounded: bool = False) -> None:
        self.profile, self.arithmetic, self._rounded = profile, arithmetic, rounded
        self._parts = {"int8": 1, "int16": 2, "f32": 0}[arithmetic]
        self._cache: dict[tuple[object, ...], Any] = {}
        halves = HalvesKernels if profile.cooperative is None else CooperativeKernels
        self._halves = halves(profile, self._call)

    def matrix(self, storage: MatrixStorage, *, pairs: bool = False) -> Matrix:
        """Return the parameters of a matrix; `pairs` (gate and up) makes no difference here."""
        del pairs
        arithmetic = self.arithmetic if storage.storage in ("q4", "q8") else "f32"
        rows, columns, kind = storage.rows, storage.columns, storage.storage
        return Matrix(WeightFormat(rows, columns, kind, storage.minimum, arithmetic))

    def product_arithmetic(self, rows: Rows, storage: str, columns: int) -> str:
        """Return how products with such weights are computed: f32, int8, int16 or f16."""
        arithmetic = self.arithmetic if storage in ("q4", "q8") else "f32"
        fmt = WeightFormat(1, columns, storage, False, arithmetic)
        return "f16" if self._in_halves(rows, fmt) else arithmetic

    def _in_halves(self, rows: Rows, fmt: WeightFormat) -> bool:
        plain = self._rounded and plain_in_halves(self.profile, rows, fmt)
        return plain or in_halves(self.profile, rows, fmt)

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

    def norm_linear(
        self,
        rows: Rows,
        x: Any,
        gain: Tensor,
        weight: Matrix,
        eps: float,
        epilogue: str,
        bias: Tensor | None = None,
        cap: float = 0.0,
    ) -> Any:
        """Apply RMSNorm, then the matrix, then the epilogue (schedules/gpu/matvec.py).

        The result of swiglu and geglu is Prepared where the arithmetic is an integer one.
        """
        width, fmt = weight.fmt.columns, weight.fmt
        if self._in_halves(rows, fmt):
            return self._halves.norm_linear(rows, plain(x), gain, weight, eps, epilogue, bias, cap)
        added = [] if bias is None else [bias]
        if not fmt.integer:
            out = nn.Tensor.placeholder((plain(x).shape[0], padded(width)), "float32")
            threads = row_threads(self.profile, width)
            make = lambda: activations.norm(rows, width, threads, self.profile.subgroup, eps)  # noqa: E731
            normed = self._call(rows, f"norm_{width}", make, [plain(x), gain], out)
            product = Product(rows, fmt, epilogue, cap=cap)
            return self._matvec(rows, normed.shape[0], product, [normed], weight, added)
        parts = self._parts if epilogue in PAIRED else 0
        rounds = rounds_itself(self.profile, rows, fmt)
        product = Product(rows, fmt, epilogue, eps, parts, rounds=rounds, cap=cap)
        if rounds:
            return self._matvec(rows, x.shape[0], product, [plain(x), gain], weight, added)
        prepared = self._prepare(rows, x, gain, width)
        inputs = [prepared.codes, prepared.terms]
        return self._matvec(rows, prepared.m, product, inputs, weight, added)

    def linear(
        self,
        rows: Rows,
        x: Any,
        weight: Matrix,
        residual: Any,
        next_gain: Tensor | None = None,
        post: PostNorm | None = None,
    ) -> Any:
        """Apply the matrix, perhaps a norm, and add the residual.

        `next_gain` is the gain of the norm that comes next; with it the result may be Prepared.
        """
        added = plain(residual)
        if leaves_floats(self.profile, rows, weight.fmt.rows):
            next_gain = None
        if post is None:
            return self._linear(rows, x, weight, "residual", added, next_gain)
        y = self._linear(rows, x, weight, "plain", added, None)
        integer = weight.fmt.integer and not self._in_halves(rows, weight.fmt)
        parts = self._parts if integer and next_gain is not None else 0
        return self._norm_add(rows, y, post, added, weight.fmt.rows, next_gain, parts)

    def _linear(
        self,
        rows: Rows,
        x: Any,
        weight: Matrix,
        epilogue: str,
        residual: Tensor,
        next_gain: Tensor | None,
    ) -> Any:
        fmt, m = weight.fmt, residual.shape[0]
        added = [residual] if epilogue == "residual" else []
        if self._in_halves(rows, fmt):
            return self._halves.linear(rows, x, weight, epilogue, added)
        if not fmt.integer:
            x = plain(x) if has_floats(x) else self.expose(rows, x, x.width)
            return self._matvec(rows, m, Product(rows, fmt, epilogue), [x], weight, added)
        prepared = self._prepare(rows, x, None, fmt.columns)
        parts = 0 if next_gain is None else self._parts
        product = Product(rows, fmt, epilogue, None, parts, parts > 0)
        inputs = [prepared.codes, prepared.terms]
        return self._matvec(rows, m, product, inputs, weight, added, next_gain)

    def _norm_add(
        self,
        rows: Rows,
        y: Tensor,
        post: PostNorm,
        residual: Tensor,
        width: int,
        next_gain: Tensor | None,
        parts: int,
    ) -> Any:
        m, threads = y.shape[0], row_threads(self.profile, width)
        out = [nn.Tensor.placeholder((m, padded(width)), "float32")]
        args = [y, post.gain, residual]
        if parts:
            out += self._quantized(m, width)
            args.append(next_gain)

        def make() -> Any:
            return norm_add(rows, width, threads, self.profile.subgroup, post.eps, parts)

        name = f"norm_add{'_prepared' if parts else ''}_{width}"
        found = self._call(rows, name, make, args, out if parts else out[0])
        return Prepared(found[1], found[2], m, width, found[0], next_gain) if parts else found

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

    def checked_linear(
        self,
        rows: Rows,
        x: Tensor,
        weight: Matrix,
        residual: Tensor,
        post: PostNorm | None = None,
    ) -> Tensor:
        """Run `linear` as a step does, prepared for a norm of some gain; return float32 rows."""
        width = weight.fmt.rows
        vector = nn.Tensor.placeholder((width,), "float32")
        threads = row_threads(self.profile, width)
        make = lambda: exposing.first_row(rows, width, threads)  # noqa: E731
        gain = self._call(rows, f"first_row_{width}", make, [residual], vector)
        return self.expose(rows, self.linear(rows, x, weight, residual, gain, post), width)

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
