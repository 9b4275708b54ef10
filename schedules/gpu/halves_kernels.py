"""The kernels of products of halves, as calls: what GpuKernels asks for where it uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.relax.frontend import nn

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.halves import HalvesLayout, expose_halves, halve
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.matmul_halves import halves_matmul
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.prepared import Halves
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.stream_halves import stream_halves
from ferrylm.schedules.gpu.tiles import halves_stream_tile, halves_tile

Tensor = Any
# rows, name, maker of the PrimFunc, arguments, results -> results
Call = Callable[[Rows, str, Callable[[], Any], list[Any], Any], Any]

_THREADS = 256  # of a workgroup that makes halves of a row


class HalvesKernels:
    """Calls of kernels for rows of activations in float16; weights are modules with `fmt`."""

    _threads = _THREADS

    def __init__(self, profile: GpuProfile, call: Call) -> None:
        self._profile, self._call = profile, call

    def norm_linear(
        self,
        rows: Rows,
        x: Tensor,
        gain: Tensor,
        weight: Any,
        eps: float,
        epilogue: str,
        bias: Tensor | None = None,
        cap: float = 0.0,
    ) -> Any:
        """Apply RMSNorm, then the matrix; the result of swiglu is Halves."""
        fmt = weight.fmt
        normed = self._halves(rows, x, self._layout(fmt.columns, not fmt.grouped), gain, eps)
        product, added = Product(rows, fmt, epilogue, cap=cap), [] if bias is None else [bias]
        return self._product(product, normed, weight, added)

    def linear(self, rows: Rows, x: Any, weight: Any, epilogue: str, added: list[Tensor]) -> Any:
        """Apply the matrix, then the epilogue residual or plain."""
        fmt, plain = weight.fmt, not weight.fmt.grouped
        if isinstance(x, Halves) and x.plain != plain:
            x = self.expose(rows, x)
        if not isinstance(x, Halves):
            x = self._halves(rows, x, self._layout(fmt.columns, plain))
        return self._product(Product(rows, fmt, epilogue), x, weight, added)

    def expose(self, rows: Rows, activation: Halves) -> Tensor:
        """Return halves as float32 rows."""
        layout = self._layout(activation.width, activation.plain)
        out = nn.Tensor.placeholder((activation.m, padded(layout.columns)), "float32")
        make = lambda: self._expose(rows, layout)  # noqa: E731
        return self._call(rows, f"expose_halves_{_tag(layout)}", make, [activation.words], out)

    def _halves(
        self,
        rows: Rows,
        x: Tensor,
        layout: Any,
        gain: Tensor | None = None,
        eps: float | None = None,
    ) -> Halves:
        """Round rows, with a gain and eps after their norm."""
        make = lambda: self._halve(rows, layout, eps)  # noqa: E731
        out = nn.Tensor.placeholder(layout.shape(x.shape[0]), "uint32")
        name, args = ("halves", [x]) if gain is None else ("norm_halves", [x, gain])
        words = self._call(rows, f"{name}_{_tag(layout)}", make, args, out)
        return Halves(words, x.shape[0], layout.columns, layout.plain)

    def _product(self, product: Product, x: Halves, weight: Any, added: list[Tensor]) -> Any:
        fmt, outputs = product.fmt, product.outputs
        results = self._layout(outputs, x.plain)
        out = nn.Tensor.placeholder((x.m, padded(outputs)), "float32")
        if product.pairs:
            out = nn.Tensor.placeholder(results.shape(x.m), "uint32")

        make = lambda: self._multiply(product)  # noqa: E731
        minimum = "m" if fmt.minimum else ""
        name = f"{product.epilogue}_{fmt.storage}{minimum}_f16_{fmt.rows}x{fmt.columns}"
        found = self._call(product.rows, name, make, [x.words, *weight.tensors(), *added], out)
        return Halves(found, x.m, outputs, x.plain) if product.pairs else found

    def _layout(self, width: int, plain: bool) -> Any:
        """Return how rows of halves lie for weights that are `plain`, not quantized."""
        return HalvesLayout(width, plain)

    def _halve(self, rows: Rows, layout: Any, eps: float | None) -> Any:
        return halve(rows, layout, self._threads, eps)

    def _expose(self, rows: Rows, layout: Any) -> Any:
        return expose_halves(rows, layout, self._threads)

    def _multiply(self, product: Product) -> Any:
        overlap = self._profile.overlap
        if product.rows.count is not None:
            return stream_halves(product, halves_stream_tile(product), overlap=overlap)
        return halves_matmul(product, halves_tile(self._profile, product.fmt.rows), overlap=overlap)


def _tag(layout: Any) -> str:
    return f"{layout.columns}{'_plain' if layout.plain else ''}"
