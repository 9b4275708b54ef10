"""The kernels of products on cooperative matrices, as calls, as HalvesKernels has them."""

from __future__ import annotations

from typing import Any

from tvm.relax.frontend import nn

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.cooperative_rows import CooperativeRows, cooperative_rows, expose_rows
from ferrylm.schedules.gpu.cooperative_tiles import cooperative_tile
from ferrylm.schedules.gpu.halves_kernels import HalvesKernels
from ferrylm.schedules.gpu.matmul_cooperative import cooperative_matmul
from ferrylm.schedules.gpu.matvec_grid import Product


class CooperativeKernels(HalvesKernels):
    """Calls of kernels for rows of activations in float16, in the order of CooperativeRows."""

    def _halve(self, rows: Rows, width: int, eps: float | None = None) -> Any:
        subgroup = self._profile.subgroup
        return cooperative_rows(rows, width, self._threads, subgroup, eps)

    def _expose(self, rows: Rows, width: int) -> Any:
        return expose_rows(rows, width, self._threads)

    def _multiply(self, product: Product) -> Any:
        profile = self._profile
        if profile.cooperative is None:
            raise ValueError(f"{profile.name} has no cooperative matrices")
        tile = cooperative_tile(profile, product)
        return cooperative_matmul(product, tile, profile.subgroup, profile.cooperative)

    def _placeholder(self, m: Any, width: int) -> Any:
        return nn.Tensor.placeholder(CooperativeRows(width).shape(m), "uint32")
