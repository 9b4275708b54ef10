"""Tiles of the GPU kernels, as data; `scripts/tune.py` measures them on a device."""

from __future__ import annotations

from ferrylm.schedules.gpu.attention_plan import AttentionTile
from ferrylm.schedules.gpu.matvec_grid import MatvecTile
from ferrylm.schedules.gpu.profile import GpuProfile

ROW_TILE = 8  # rows of activations that prefill works on together


def row_threads(profile: GpuProfile, width: int) -> int:
    """Return the threads of a workgroup that works on one row of activations."""
    wanted = -(-width // 4)
    most = 128 if profile.subgroup == 8 else 512
    threads = profile.subgroup
    while threads < min(wanted, most):
        threads *= 2
    return threads


def matvec_tile(profile: GpuProfile, rows: int, columns: int, batch: int) -> MatvecTile:
    """Return the tile of a product of `rows` x `columns` with `batch` rows of activations."""
    if profile.subgroup == 8:
        return MatvecTile(subgroups=4, rows=4)
    if batch >= 4:
        return MatvecTile(subgroups=4, rows=2)
    return MatvecTile(subgroups=4, rows=2 if rows < 16384 else 4)


def attention_tile(profile: GpuProfile, head_dim: int, *, prefill: bool) -> AttentionTile:
    """Return the tile of attention over heads of `head_dim` elements."""
    threads = 64 if profile.subgroup == 8 else 128
    while threads * 4 < head_dim:
        threads *= 2
    rows = 16 if prefill else 64
    return AttentionTile(threads=threads, chunk=threads, rows=rows)
