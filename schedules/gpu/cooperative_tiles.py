"""Tiles of products on cooperative matrices, as data."""

from __future__ import annotations

from ferrylm.schedules.gpu.cooperative_grid import CooperativeTile
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.profile import GpuProfile

# By subgroup width: 128 rows of activations times 128 rows of the matrix a workgroup. That of 32
# was the fastest of eleven on an H200, all of which gave the same bits there; for 1024 rows it took
# 57 to 86 % of the time of (4, 2, 2, 4, 32, 2), which came before. RADV compiles it for RDNA3
# without spills. That of 64 ran nowhere. The one of 8 is for a CPU that plays GPU, whose compiler
# takes a minute for the others.
TILES = {
    8: CooperativeTile(1, 1, 1, 4, 32, 1),
    32: CooperativeTile(2, 2, 4, 4, 64, 1),
    64: CooperativeTile(2, 2, 4, 4, 32, 2),
}
TILE_OF_PAIRS_8 = CooperativeTile(1, 1, 1, 8, 32, 1)
# On AMD's units through ROCm, ran nowhere. Two waves by two with 64 x 64 sums each read the least
# from shared memory; a single stage of it lets three workgroups share a compute unit's 64 KiB, so
# that one multiplies while another decodes.
TILE_ROCM = CooperativeTile(2, 2, 4, 4, 32, 1)


def cooperative_tile(profile: GpuProfile, product: Product) -> CooperativeTile:
    """Return the tile of a product."""
    if profile.kind == "rocm":
        return TILE_ROCM
    if profile.subgroup == 8 and product.pairs:
        return TILE_OF_PAIRS_8
    return TILES[profile.subgroup]
