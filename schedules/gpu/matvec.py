"""Product of a weight matrix and a few rows of activations, on GPUs.

computes  y[m, n] = sum_k w[n, k] * x[m, k], then an epilogue:
          plain     y
          residual  y + r[m, n]
          swiglu    silu(y[m, n]) * y[m, N / 2 + n]
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

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec_float import grouped_float, plain_float
from ferrylm.schedules.gpu.matvec_grid import MatvecTile
from ferrylm.schedules.gpu.matvec_integer import integer_matvec
from ferrylm.schedules.gpu.signature import without

__all__ = ["EPILOGUES", "MatvecTile", "matvec"]

EPILOGUES = ("plain", "residual", "swiglu")


def matvec(rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile, subgroup: int) -> Any:
    """Return the PrimFunc (activations, weights, [residual], y).

    Activations are (codes, terms) for integer arithmetic, else x float32 (M, padded(K)).
    """
    if epilogue not in EPILOGUES:
        raise ValueError(f"unknown epilogue {epilogue!r}")
    if fmt.integer:
        func = integer_matvec(rows, fmt, epilogue, tile, subgroup)
    elif fmt.grouped:
        func = grouped_float(rows, fmt, epilogue, tile, subgroup)
    else:
        func = plain_float(rows, fmt, epilogue, tile, subgroup)
    unused = [] if fmt.minimum or not fmt.grouped else ["minimum"]
    return without(func, unused if epilogue == "residual" else [*unused, "presidual"])
