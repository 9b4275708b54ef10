"""Product of quantized weights and activations, on CPUs: the schedule and its tiles.

mapping   parallel   tiles of `row_blocks` x 16 output features
          then       tiles of `tile_rows` activation rows
          in f32 or int32 registers: row_blocks x tile_rows vectors of 16 lanes
limits    row_blocks must divide the number of 16-row blocks, tile_rows the rows, and the sums must
          fit the stack (`fitting`)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import s_tir

from ferrylm.schedules.cpu.layout import WeightFormat, blocks
from ferrylm.schedules.cpu.profile import CpuProfile
from ferrylm.schedules.tensorize import mark

VECTOR_BYTES = 64  # 16 lanes of int32 or float32
MOST_STACK_BYTES = 1024  # TVM's kMaxStackAlloca: larger buffers come from the heap


@dataclass(frozen=True)
class MatmulTile:
    """Registers of one tile; `unroll_columns` is how many columns of f32 weights are unrolled."""

    row_blocks: int
    tile_rows: int
    unroll_columns: int = 32

    def __post_init__(self) -> None:
        if min(self.row_blocks, self.tile_rows, self.unroll_columns) < 1:
            raise ValueError(f"{self} has an extent below 1")


def fitting(tile: MatmulTile, fmt: WeightFormat, *, pairs: bool) -> MatmulTile:
    """Return the largest tile within `tile` whose blocks divide those of the matrix.

    With `pairs` (SwiGLU) gate and up blocks are counted together. The sums of a tile must be
    small enough for TVM to keep them on the stack, or LLVM will not keep them in registers.
    """
    step = 2 if pairs else 1
    units, most = blocks(fmt.rows) // step, max(1, tile.row_blocks // step)
    count = step * max(n for n in range(1, most + 1) if units % n == 0)
    rows = tile.tile_rows
    while rows > 1 and count * rows * fmt.parts * VECTOR_BYTES >= MOST_STACK_BYTES:
        rows //= 2
    return MatmulTile(count, rows, tile.unroll_columns)


def schedule_matmul(
    func: Any, fmt: WeightFormat, tile: MatmulTile, profile: CpuProfile, *, pairs: bool
) -> Any:
    """Return the scheduled PrimFunc."""
    sch = s_tir.Schedule(func)
    rows_loop = _tile_store(sch, tile, pairs)
    if fmt.integer:
        _schedule_integers(sch, rows_loop, profile)
    else:
        _schedule_floats(sch, rows_loop, tile)
    return sch.mod["main"]


def _tile_store(sch: Any, tile: MatmulTile, pairs: bool) -> Any:
    store = sch.get_sblock("store")
    m, n = sch.get_loops(store)
    units = tile.row_blocks // 2 if pairs else tile.row_blocks
    outer, inner, lane = sch.split(n, [None, units, 16])
    rows, row = sch.split(m, [None, tile.tile_rows])
    sch.reorder(outer, rows, inner, row, lane)
    sch.vectorize(lane)
    sch.unroll(row)
    sch.unroll(inner)
    sch.parallel(outer)
    return rows


def _schedule_integers(sch: Any, rows_loop: Any, profile: CpuProfile) -> None:
    accumulate, dot = sch.get_sblock("accumulate"), sch.get_sblock("dot")
    sch.compute_at(accumulate, rows_loop, preserve_unit_loops=True)
    block, row, lane, group = sch.get_loops(accumulate)[-4:]
    sch.reorder(group, block, row, lane)
    sch.unroll(block)
    sch.unroll(row)
    sch.vectorize(lane)
    sch.compute_at(dot, group, preserve_unit_loops=True)
    sch.decompose_reduction(accumulate, group)
    block, row, _, part, lane, o, j = sch.get_loops(dot)[-7:]
    sch.reorder(o, block, row, part, lane, j)
    for loop in (o, block, row, part):
        sch.unroll(loop)
    if any(sch.get(child).name_hint == "unpack" for child in sch.get_producers(dot)):
        unpack = sch.get_sblock("unpack")
        sch.compute_at(unpack, o, preserve_unit_loops=True)
        block, _, _, byte = sch.get_loops(unpack)[-4:]
        sch.unroll(block)
        sch.vectorize(byte)
    zero = sch.decompose_reduction(dot, o)
    sch.vectorize(sch.get_loops(zero)[-1])
    mark(sch, lane, profile.dot)


def _schedule_floats(sch: Any, rows_loop: Any, tile: MatmulTile) -> None:
    accumulate, unpack = sch.get_sblock("accumulate"), sch.get_sblock("unpack")
    sch.compute_at(accumulate, rows_loop, preserve_unit_loops=True)
    block, row, lane, k = sch.get_loops(accumulate)[-4:]
    extent = int(sch.get(k).extent)
    step = max(n for n in range(1, tile.unroll_columns + 1) if extent % n == 0)
    outer, inner = sch.split(k, [None, step])
    sch.reorder(outer, inner, block, row, lane)
    for loop in (inner, block, row):
        sch.unroll(loop)
    sch.vectorize(lane)
    sch.compute_at(unpack, inner, preserve_unit_loops=True)
    decoded = sch.get_loops(unpack)
    sch.unroll(decoded[-3])
    sch.vectorize(decoded[-1])
    sch.decompose_reduction(accumulate, outer)
