"""Tiles of products on AMD's GPUs through ROCm, as data.

LLVM shares out a multiprocessor's registers by the largest workgroup that a kernel says it may
have: 256 for a lane of 256 threads, 128 for one of 512. A workgroup that quantizes makes 32 outputs
at least, so a lane must not work on many rows: 32 or 16 lanes share one, on waves of 64 too. So no
kernel spills, on chips without a dot product of bytes neither. The tiles were run on no GPU yet.
"""

from __future__ import annotations

from dataclasses import replace

from ferrylm.schedules.gpu.layout import GROUP
from ferrylm.schedules.gpu.matvec_grid import MatvecTile, Product

LONG_COLUMNS = 8192
FEW_ROWS = 16384

# One row of activations: results in float32, and quantized.
LONG = MatvecTile(8, 4, split=4, unroll=2, lanes=32)
FEW = MatvecTile(4, 2, ahead=True, lanes=32)
MANY = MatvecTile(4, 4, ahead=True, lanes=32)
PREPARED = MatvecTile(8, 4, unroll=2, lanes=32)
# Several, whose sums take most of the registers.
SEVERAL = MatvecTile(16, 2, lanes=16)


def amd_tile(product: Product) -> MatvecTile:
    """Return the tile of a product, before it is fitted to the columns."""
    if product.rows.tile > 1:
        wanted = SEVERAL
    elif product.parts:
        wanted = PREPARED
    elif product.fmt.columns >= LONG_COLUMNS:
        wanted = LONG
    else:
        wanted = FEW if product.fmt.rows <= FEW_ROWS else MANY
    if product.parts and product.pairs:
        # An output takes two rows, and a workgroup's outputs are to be whole groups.
        while wanted.rows // 2 * wanted.subgroups % GROUP:
            wanted = replace(wanted, rows=wanted.rows * 2, unroll=1)
    return wanted
