"""Tiles of the CPU kernels, as data.

Those of x86-64 were chosen by hand on a Zen 5 core; `scripts/time_kernels.py` measures them.
Those of aarch64 are a guess from its 32 registers of 16 bytes.
"""

from __future__ import annotations

from ferrylm.schedules.cpu.matmul_schedule import MatmulTile

ROW_TILE = 4  # rows of activations that prefill works on together
ATTENTION_REGISTER_ROWS = {
    "x86-64-v3": 6,
    "x86-64-v3-vnni": 6,
    "x86-64-v4-vnni": 12,
    "aarch64-dotprod": 6,
}

Tiles = dict[tuple[str, int], MatmulTile]  # (arithmetic, rows of a tile)

_AVX512: Tiles = {
    ("int8", 1): MatmulTile(1, 1),
    ("int8", 2): MatmulTile(4, 2),
    ("int8", 4): MatmulTile(2, 4),
    ("int16", 1): MatmulTile(1, 1),
    ("int16", 2): MatmulTile(2, 2),
    ("int16", 4): MatmulTile(1, 4),
    ("f32", 1): MatmulTile(4, 1, 16),
    ("f32", 2): MatmulTile(4, 2, 16),
    ("f32", 4): MatmulTile(4, 4, 8),
}
_AVX2: Tiles = {
    ("int8", 1): MatmulTile(1, 1),
    ("int8", 2): MatmulTile(2, 2),
    ("int8", 4): MatmulTile(1, 4),
    ("int16", 1): MatmulTile(1, 1),
    ("int16", 2): MatmulTile(1, 2),
    ("int16", 4): MatmulTile(1, 2),
    ("f32", 1): MatmulTile(4, 1, 16),
    ("f32", 2): MatmulTile(2, 2, 8),
    ("f32", 4): MatmulTile(1, 4, 8),
}
_NEON: Tiles = {
    ("int8", 1): MatmulTile(1, 1),
    ("int8", 2): MatmulTile(1, 2),
    ("int8", 4): MatmulTile(1, 4),
    ("int16", 1): MatmulTile(1, 1),
    ("int16", 2): MatmulTile(1, 2),
    ("int16", 4): MatmulTile(1, 2),
    ("f32", 1): MatmulTile(2, 1, 8),
    ("f32", 2): MatmulTile(2, 2, 8),
    ("f32", 4): MatmulTile(1, 4, 8),
}
MATMUL_TILES: dict[str, Tiles] = {
    "x86-64-v4-vnni": _AVX512,
    "x86-64-v3": _AVX2,
    "x86-64-v3-vnni": _AVX2,
    "aarch64-dotprod": _NEON,
}
