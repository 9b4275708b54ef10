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
        m, width = x.shape[0], weight.fmt.columns
        make = lambda: self._halve(rows, width, eps)  # noqa: E731
        out = self._placeholder(m, width)
        normed = self._call(rows, f"norm_halves_{width}", make, [x, gain], out)
        product, added = (
            Product(rows, weight.fmt, epilogue, cap=cap),
            [] if bias is None else [bias],
        )
        return self._product(rows, m, product, normed, weight, added)

    def linear(
        self, rows: Rows, x: Any, weight: Any, m: Any, epilogue: str, added: list[Tensor]
    ) -> Any:
        """Apply the matrix to m rows, then the epilogue residual or plain."""
        width = weight.fmt.columns
        if not isinstance(x, Halves):
            make = lambda: self._halve(rows, width)  # noqa: E731
            words = self._call(rows, f"halves_{width}", make, [x], self._placeholder(m, width))
            x = Halves(words, m, width)
        product = Product(rows, weight.fmt, epilogue)
        return self._product(rows, m, product, x.words, weight, added)

    def expose(self, rows: Rows, activation: Halves) -> Tensor:
        """Return halves as float32 rows."""
        width = activation.width
        out = nn.Tensor.placeholder((activation.m, padded(width)), "float32")
        make = lambda: self._expose(rows, width)  # noqa: E731
        return self._call(rows, f"expose_halves_{width}", make, [activation.words], out)

    def _product(
        self, rows: Rows, m: Any, product: Product, x: Tensor, weight: Any, added: list[Tensor]
    ) -> Any:
        fmt, outputs = product.fmt, product.outputs
        out = nn.Tensor.placeholder((m, padded(outputs)), "float32")
        if product.pairs:
            out = self._placeholder(m, outputs)

        make = lambda: self._multiply(product)  # noqa: E731
        minimum = "m" if fmt.minimum else ""
        name = f"{product.epilogue}_{fmt.storage}{minimum}_f16_{fmt.rows}x{fmt.columns}"
        found = self._call(rows, name, make, [x, *weight.tensors(), *added], out)
        return Halves(found, m, outputs) if product.pairs else found

    def _halve(self, rows: Rows, width: int, eps: float | None = None) -> Any:
        return halve(rows, width, self._threads, eps)

    def _expose(self, rows: Rows, width: int) -> Any:
        return expose_halves(rows, width, self._threads)

    def _multiply(self, product: Product) -> Any:
        overlap = self._profile.overlap
        if product.rows.count is not None:
            return stream_halves(product, halves_stream_tile(product), overlap=overlap)
        return halves_matmul(product, halves_tile(self._profile, product.fmt.rows), overlap=overlap)

    def _placeholder(self, m: Any, width: int) -> Tensor:
        return nn.Tensor.placeholder(HalvesLayout(width).shape(m), "uint32")
