"""Tiles of the CPU kernels, as data.

Keys are (profile, arithmetic, rows of a tile). Those of x86-64 were chosen by hand on a Zen 5 core
with `scripts/time_kernels.py`. Those of aarch64 are a guess from its 32 registers of 16 bytes.
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

MATMUL_TILES: dict[tuple[str, str, int], MatmulTile] = {
    ("x86-64-v4-vnni", "int8", 1): MatmulTile(1, 1),
    ("x86-64-v4-vnni", "int8", 2): MatmulTile(4, 2),
    ("x86-64-v4-vnni", "int8", 4): MatmulTile(2, 4),
    ("x86-64-v4-vnni", "int16", 1): MatmulTile(1, 1),
    ("x86-64-v4-vnni", "int16", 2): MatmulTile(2, 2),
    ("x86-64-v4-vnni", "int16", 4): MatmulTile(1, 4),
    ("x86-64-v4-vnni", "f32", 1): MatmulTile(4, 1, 16),
    ("x86-64-v4-vnni", "f32", 2): MatmulTile(4, 2, 16),
    ("x86-64-v4-vnni", "f32", 4): MatmulTile(4, 4, 8),
    ("x86-64-v3", "int8", 1): MatmulTile(1, 1),
    ("x86-64-v3", "int8", 2): MatmulTile(2, 2),
    ("x86-64-v3", "int8", 4): MatmulTile(1, 4),
    ("x86-64-v3", "int16", 1): MatmulTile(1, 1),
    ("x86-64-v3", "int16", 2): MatmulTile(1, 2),
    ("x86-64-v3", "int16", 4): MatmulTile(1, 2),
    ("x86-64-v3", "f32", 1): MatmulTile(4, 1, 16),
    ("x86-64-v3", "f32", 2): MatmulTile(2, 2, 8),
    ("x86-64-v3", "f32", 4): MatmulTile(1, 4, 8),
    ("x86-64-v3-vnni", "int8", 1): MatmulTile(1, 1),
    ("x86-64-v3-vnni", "int8", 2): MatmulTile(2, 2),
    ("x86-64-v3-vnni", "int8", 4): MatmulTile(1, 4),
    ("x86-64-v3-vnni", "int16", 1): MatmulTile(1, 1),
    ("x86-64-v3-vnni", "int16", 2): MatmulTile(1, 2),
    ("x86-64-v3-vnni", "int16", 4): MatmulTile(1, 2),
    ("x86-64-v3-vnni", "f32", 1): MatmulTile(4, 1, 16),
    ("x86-64-v3-vnni", "f32", 2): MatmulTile(2, 2, 8),
    ("x86-64-v3-vnni", "f32", 4): MatmulTile(1, 4, 8),
    ("aarch64-dotprod", "int8", 1): MatmulTile(1, 1),
    ("aarch64-dotprod", "int8", 2): MatmulTile(1, 2),
    ("aarch64-dotprod", "int8", 4): MatmulTile(1, 4),
    ("aarch64-dotprod", "int16", 1): MatmulTile(1, 1),
    ("aarch64-dotprod", "int16", 2): MatmulTile(1, 2),
    ("aarch64-dotprod", "int16", 4): MatmulTile(1, 2),
    ("aarch64-dotprod", "f32", 1): MatmulTile(2, 1, 8),
    ("aarch64-dotprod", "f32", 2): MatmulTile(2, 2, 8),
    ("aarch64-dotprod", "f32", 4): MatmulTile(1, 4, 8),
}
