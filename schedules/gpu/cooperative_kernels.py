"""The kernels of products on cooperative matrices, as calls, as HalvesKernels has them."""

from __future__ import annotations

from typing import Any

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.cooperative_rows import CooperativeRows, cooperative_rows, expose_rows
from ferrylm.schedules.gpu.cooperative_tiles import cooperative_tile
from ferrylm.schedules.gpu.halves_kernels import HalvesKernels
from ferrylm.schedules.gpu.matmul_cooperative import cooperative_matmul
from ferrylm.schedules.gpu.matvec_grid import Product


class CooperativeKernels(HalvesKernels):
    """Calls of kernels for rows of activations in float16, in the order of CooperativeRows."""

    def _layout(self, width: int, plain: bool) -> Any:
        if plain:
            raise ValueError("weights that are not quantized do not meet cooperative matrices")
        return CooperativeRows(width)

    def _halve(self, rows: Rows, layout: Any, eps: float | None) -> Any:
        subgroup = self._profile.subgroup
        return cooperative_rows(rows, layout.columns, self._threads, subgroup, eps)

    def _expose(self, rows: Rows, layout: Any) -> Any:
        return expose_rows(rows, layout.columns, self._threads)

    def _multiply(self, product: Product) -> Any:
        profile = self._profile
        if profile.cooperative is None:
            raise ValueError(f"{profile.name} has no cooperative matrices")
        tile = cooperative_tile(profile, product)
        return cooperative_matmul(product, tile, profile.subgroup, profile.cooperative)
