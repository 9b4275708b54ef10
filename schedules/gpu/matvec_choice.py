"""Finds the tile that was measured to be best for a product, where one was."""

from __future__ import annotations

from ferrylm.schedules.gpu.matvec_grid import MatvecTile, Product
from ferrylm.schedules.gpu.matvec_tuned import TUNED
from ferrylm.schedules.gpu.profile import GpuProfile


def product_name(product: Product) -> str:
    """Return the name of a product's kernel, without what tells it from its copies."""
    fmt, rows = product.fmt, product.rows.count
    normed = "normed_" if product.eps is not None else ""
    prepared = "_prepared" if product.parts else ""
    suffix = "prefill" if rows is None else f"batch{rows}"
    return f"{normed}{product.epilogue}{prepared}_{fmt.tag}_{fmt.rows}x{fmt.columns}_{suffix}"


def tuned_tile(profile: GpuProfile, product: Product) -> MatvecTile | None:
    """Return the measured tile of a product on a target; None where there is none."""
    return TUNED.get(f"{profile.kind}-{profile.name}", {}).get(product_name(product))
