# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Which part of a product a workgroup and a subgroup work on, and what they do at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat, padded
from ferrylm.schedules.gpu.operations import subgroup_add


@dataclass(frozen=True)
class MatvecTile:
    """How much of a product one workgroup and one subgroup work on.

    `split` subgroups share their rows and divide the columns; `unroll` steps of a lane load their
    weights before the first of them multiplies.
    """

    subgroups: int
    rows: int
    split: int = 1
    unroll: int = 1

    def __post_init__(self) -> None:
        if self.rows % 2:
            raise ValueError(f"{self.rows} rows a subgroup: gate and up come in pairs")
        if self.subgroups % self.split:
            raise ValueError(f"{self.subgroups} subgroups do not split {self.split} ways")


@dataclass(frozen=True)
class MatvecGrid:
    """A tile applied to a matrix: `columns` rows of activations, subgroups of `width` lanes."""

    outputs: int
    pairs: bool
    tile: MatvecTile
    columns: int
    width: int

    @property
    def rows(self) -> int:
        """Return how many outputs a subgroup makes."""
        return self.tile.rows // 2 if self.pairs else self.tile.rows

    @property
    def sums(self) -> int:
        """Return how many sums a lane keeps."""
        return self.tile.rows * self.columns

    @property
    def lanes(self) -> int:
        """Return how many lanes divide the columns of a row."""
        return self.width * self.tile.split

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.width * self.tile.subgroups

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the padded outputs."""
        return -(-padded(self.outputs) // (self.rows * self.tile.subgroups // self.tile.split))

    def lane(self, thread: Any) -> Any:
        """Return a thread's place among the lanes that divide a row's columns."""
        return thread % self.lanes

    def output(self, workgroup: Any, thread: Any, r: Any) -> Any:
        """Return the index of output r of a thread's subgroup."""
        team = workgroup * (self.tile.subgroups // self.tile.split) + thread // self.lanes
        return team * self.rows + r

    def matrix_row(self, workgroup: Any, thread: Any, r: Any) -> Any:
        """Return the row of the matrix that row r of a subgroup is; beyond the end, the last."""
        output = self.output(workgroup, thread, r % self.rows)
        return T.min(output, self.outputs - 1) + r // self.rows * self.outputs


def grid_of(
    rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile, width: int
) -> MatvecGrid:
    """Return the grid of a product."""
    pairs = epilogue == "swiglu"
    outputs = fmt.rows // 2 if pairs else fmt.rows
    return MatvecGrid(outputs, pairs, tile, rows.tile, width)


def silu(x: Any) -> Any:
    """Return x / (1 + e**-x) for float32 x."""
    return x / (T.float32(1.0) + T.exp(T.float32(0.0) - x))


@T.inline
def load_group(codes, scale, minimum, words, terms, row, group, slot, fmt):  # noqa: D103
    for j in T.vectorized(4):
        words[slot * fmt.words + j] = codes[row, group, j]
    if fmt.words == 8:
        for j in T.vectorized(4):
            words[slot * fmt.words + 4 + j] = codes[row, group, 4 + j]
    terms[slot, 0] = T.cast(scale[row, group], "float32")
    if fmt.minimum:
        terms[slot, 1] = T.cast(minimum[row, group], "float32")


@T.inline
def add_lanes(sums, shared, thread, grid):  # noqa: D103
    for i in T.unroll(grid.sums):
        sums[i] = subgroup_add(sums[i])
    if grid.tile.split > 1:
        if thread % grid.width == 0:
            for i in T.unroll(grid.sums):
                shared[thread // grid.width, i] = sums[i]
        T.tvm_storage_sync("shared")
        for i in T.unroll(grid.sums):
            sums[i] = T.float32(0)
            for s in T.unroll(grid.tile.split):
                sums[i] = sums[i] + shared[thread // grid.lanes * grid.tile.split + s, i]


@T.inline
def store(sums, shared, residual, y, first_m, workgroup, thread, grid, epilogue):  # noqa: D103
    result = T.alloc_buffer((1,), "float32", scope="local")
    add_lanes(sums, shared, thread, grid)
    for r in T.unroll(grid.rows):
        for m in T.unroll(grid.columns):
            # Different lanes store different results.
            if grid.lane(thread) == (r * grid.columns + m) % 8 and grid.output(
                workgroup, thread, r
            ) < padded(grid.outputs):
                result[0] = T.float32(0)
                if grid.output(workgroup, thread, r) < grid.outputs:
                    result[0] = sums[r * grid.columns + m]
                    if epilogue == "swiglu":
                        result[0] = silu(result[0]) * sums[(grid.rows + r) * grid.columns + m]
                    if epilogue == "residual":
                        result[0] = (
                            result[0] + residual[first_m + m, grid.output(workgroup, thread, r)]
                        )
                y[first_m + m, grid.output(workgroup, thread, r)] = result[0]
