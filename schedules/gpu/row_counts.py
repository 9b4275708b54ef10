"""Numbers of rows as GPU kernels want them: 32 bits wide.

Sizes of tensors are int64 elsewhere, and so would be all indices made of them. 64-bit division is
slow on every GPU, and it seems wrong on one driver: with NVIDIA's 580.159 for Vulkan, prefill
attention failed where it divided by constants that are no power of two, and not with 32 bits.
"""

from __future__ import annotations

from typing import Any

from tvm import te

from ferrylm.schedules.cpu.rows import Rows


def row_count(rows: Rows) -> Any:
    """Return the number of rows, an int or a size variable of its own."""
    return te.var("rows", "int32") if rows.count is None else rows.count


def tile_count(rows: Rows) -> Any:
    """Return the number of tiles of rows, an int or a size variable of its own."""
    return te.var("tiles", "int32") if rows.count is None else rows.count // rows.tile
