"""Tiles of products that were chosen by measurement, for a target each.

Written by scripts/tune.py; edit by hand only to take a tile out. Where a product is not here, the
rules of tiles.py hold.
"""

from __future__ import annotations

from ferrylm.schedules.gpu.matvec_grid import MatvecTile

TUNED: dict[str, dict[str, MatvecTile]] = {
    "cuda-sm90": {
        "normed_plain_q4_int16_128256x4096_batch1": MatvecTile(4, 4, split=2, ahead=True),
        "normed_plain_q4_int16_6144x4096_batch1": MatvecTile(4, 2, unroll=2, ahead=True),
    },
}
