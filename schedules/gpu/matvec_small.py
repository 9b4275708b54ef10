"""Products of small matrices in a decode step of one sequence, where kernels overlap.

A kernel that quantizes its results wants workgroups of 32 outputs. A matrix of 896 rows has 28 of
those for 132 multiprocessors: what they have to multiply then takes longer than all else in the
kernel. So such a matrix leaves its results as float32, workgroups have 8 outputs, and those of the
product that follows quantize the row each for itself (matvec_rounding.py).
"""

from __future__ import annotations

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat, groups
from ferrylm.schedules.gpu.matvec_grid import MatvecTile, Product
from ferrylm.schedules.gpu.profile import GpuProfile

FEW_ROWS = 2048  # of a matrix: 64 workgroups of 32 outputs; columns of the product that follows
MOST_ROWS = 32768  # of a product that quantizes for itself; more workgroups do it too often
_OUTPUTS = 8  # of a workgroup
_ROWS = 4  # of a subgroup
_MOST_SPLIT = 8


def leaves_floats(profile: GpuProfile, rows: Rows, outputs: int) -> bool:
    """Return whether a product with so many outputs leaves them to be quantized by the next."""
    return profile.overlap and profile.dot and rows.count == 1 and outputs <= FEW_ROWS


def rounds_itself(profile: GpuProfile, rows: Rows, fmt: WeightFormat) -> bool:
    """Return whether each workgroup of a product quantizes its activations."""
    return leaves_floats(profile, rows, fmt.columns) and fmt.rows <= MOST_ROWS


def small_tile(profile: GpuProfile, product: Product) -> MatvecTile | None:
    """Return the tile of a product that leaves floats, in one step of columns; None of others."""
    if not leaves_floats(profile, product.rows, product.fmt.rows) or product.parts:
        return None
    split = min(_MOST_SPLIT, -(-groups(product.fmt.columns) // profile.subgroup))
    rows = _ROWS if split > 1 else _ROWS // 2
    return MatvecTile(_OUTPUTS // rows * split, rows, split=split, ahead=True)
