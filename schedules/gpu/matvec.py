"""Product of a weight matrix and a few rows of activations, on GPUs.

computes  y[m, n] = sum_k w[n, k] * x[m, k], then an epilogue:
          plain     y
          residual  y + r[m, n]
          bias      y + b[n]
          swiglu    silu(y[m, n]) * y[m, N / 2 + n]
          geglu     gelu(y[m, n]) * y[m, N / 2 + n]
          capped    cap * tanh(y / cap)
          and perhaps its quantization, for the product that follows
shapes    weights and activations as in layout.py; y float32 (M, padded(N)), zeros beyond N
integer   w = scale * (code - 8), scale * code + minimum or scale * code; per group of 32 columns an
          int32 dot product of bytes (two for int16), then multiply-adds in float32
float     weights are decoded to float32
mapping   workgroup  subgroups / split times `rows` rows of the matrix, all M rows of a tile
          subgroup   `rows` rows, shared with split - 1 others
          lane       every (W * split)-th group of columns, or 16 bytes of a plain matrix's columns
traffic   the weights once per tile of rows; activations from the cache, once per `rows` rows
"""

from __future__ import annotations

from typing import Any

from ferrylm.schedules.gpu.layout import GROUP
from ferrylm.schedules.gpu.matvec_float import grouped_float, plain_float
from ferrylm.schedules.gpu.matvec_grid import MatvecGrid, MatvecTile, Product
from ferrylm.schedules.gpu.matvec_integer import integer_matvec
from ferrylm.schedules.gpu.matvec_lanes import lane_matvec
from ferrylm.schedules.gpu.overlap import overlapped

__all__ = ["MatvecTile", "Product", "matvec"]


def matvec(
    product: Product,
    tile: MatvecTile,
    subgroup: int,
    *,
    overlap: bool = False,
    rows_in_lanes: bool = False,
) -> Any:
    """Return the PrimFunc (activations, weights, [added], [gain], [y], [y_codes, y_terms]).

    `rows_in_lanes` gives every lane rows of its own, in float arithmetic on grouped weights.
    With `overlap` it is launched before the kernel before it has ended (overlap.py).
    Activations are (codes, terms) for integer arithmetic, else x float32 (M, padded(K)).
    """
    if product.fmt.integer:
        func = _counted(
            integer_matvec(product, tile, subgroup, overlap=overlap), product, tile, subgroup
        )
        return overlapped(func, waits=True) if overlap else func
    if product.eps is not None or product.parts:
        raise ValueError("only integer arithmetic takes and makes quantized activations")
    grouped = lane_matvec if rows_in_lanes else grouped_float
    make = grouped if product.fmt.grouped else plain_float
    func = make(product, tile, subgroup)
    return overlapped(func) if overlap else func


def _counted(func: Any, product: Product, tile: MatvecTile, subgroup: int) -> Any:
    """Say how many weights a lane decodes in a turn and in all (docs/steam-deck.md)."""
    turn = GROUP * tile.rows * tile.unroll
    lanes = MatvecGrid(product, tile, subgroup).lanes
    lane = max(1, tile.rows * product.fmt.columns // lanes)
    return func.with_attr("ferrylm.loop_weights", turn).with_attr("ferrylm.lane_weights", lane)
