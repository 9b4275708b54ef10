"""Finds the tile that was measured to be best for a product, where one was."""

from __future__ import annotations

from dataclasses import replace

from ferrylm.schedules.gpu.matvec_grid import MatvecTile, Product
from ferrylm.schedules.gpu.matvec_tuned import TUNED
from ferrylm.schedules.gpu.profile import GpuProfile

_MEASURED_AS = {"bias": "plain", "geglu": "swiglu"}


def operation_name(product: Product) -> str:
    """Return the name of a product's kernel, whatever the number of rows."""
    fmt = product.fmt
    normed = "rounding_" if product.rounds else ""
    normed += "normed_" if product.eps is not None else ""
    prepared = "_prepared" if product.parts else ""
    return f"{normed}{product.epilogue}{prepared}_{fmt.tag}_{fmt.rows}x{fmt.columns}"


def product_name(product: Product) -> str:
    """Return the name of a product's kernel, without what tells it from its copies."""
    rows = product.rows.count
    return f"{operation_name(product)}_{'prefill' if rows is None else f'batch{rows}'}"


def tuned_tile(profile: GpuProfile, product: Product) -> MatvecTile | None:
    """Return the measured tile of a product on a target; None where there is none.

    A bias changes no tile, nor does the gate: what was measured without, or with another, holds.
    """
    measured = _MEASURED_AS.get(product.epilogue, product.epilogue)
    product = replace(product, epilogue=measured)
    return TUNED.get(f"{profile.kind}-{profile.name}", {}).get(product_name(product))
