"""Tiles of products on matrix units: what a workgroup, a subgroup and a lane work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.layout import GROUP, groups, padded
from ferrylm.schedules.gpu.matvec_grid import Product

WIDTH = 32  # lanes of a subgroup
ROWS, COLUMNS = 16, 8  # of one instruction
QUARTET = 4  # groups


@dataclass(frozen=True)
class MatrixTile:
    """Fragments of a subgroup; subgroups of a workgroup; how many of them divide the columns."""

    subgroups: int
    split: int
    row_tiles: int
    column_tiles: int

    def __post_init__(self) -> None:
        if self.subgroups % self.split:
            raise ValueError(f"{self.subgroups} subgroups do not split {self.split} ways")


@dataclass(frozen=True)
class MatrixGrid:
    """A MatrixTile applied to a product."""

    product: Product
    tile: MatrixTile
    width: int = WIDTH

    def __post_init__(self) -> None:
        if self.product.pairs and self.tile.row_tiles % 2:
            raise ValueError("gate and up come in pairs of tiles")
        if self.product.parts and self.workgroup_outputs % GROUP:
            raise ValueError(f"{self.workgroup_outputs} outputs a workgroup are no whole groups")

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.width * self.tile.subgroups

    @property
    def columns(self) -> int:
        """Return the rows of activations of a workgroup."""
        return COLUMNS * self.tile.column_tiles

    @property
    def output_tiles(self) -> int:
        """Return the tiles of outputs of a subgroup."""
        return self.tile.row_tiles // 2 if self.product.pairs else self.tile.row_tiles

    @property
    def workgroup_outputs(self) -> int:
        """Return the outputs of a workgroup."""
        return ROWS * self.output_tiles * (self.tile.subgroups // self.tile.split)

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the padded outputs."""
        return -(-padded(self.product.outputs) // self.workgroup_outputs)

    @property
    def sums(self) -> int:
        """Return the sums of a lane: four a fragment, and squares of its columns."""
        return 4 * self.tile.row_tiles * self.tile.column_tiles + 2 * self.tile.column_tiles

    @property
    def words(self) -> int:
        """Return the words of codes that a lane holds of a quartet."""
        return 2 * self.tile.row_tiles * self.product.fmt.words

    @property
    def steps(self) -> int:
        """Return how many quartets a subgroup works on."""
        quartets = -(-groups(self.product.fmt.columns) // QUARTET)
        return -(-quartets // self.tile.split)

    @property
    def shared_sums(self) -> tuple[int, int]:
        """Return the shape of the sums that subgroups of a row exchange."""
        return (self.sums, self.threads) if self.tile.split > 1 else (1, 1)

    @property
    def shared_results(self) -> tuple[int, int]:
        """Return the shape of the results that lanes exchange to quantize them."""
        return (self.columns, self.workgroup_outputs) if self.product.parts else (1, 1)

    def lane(self, thread: Any) -> Any:
        """Return a thread's lane."""
        return thread % self.width

    def quartet(self, thread: Any, step: Any) -> Any:
        """Return the quartet of groups of a subgroup's step."""
        return step * self.tile.split + thread // self.width % self.tile.split

    def place(self, thread: Any, tile: int, half: int) -> Any:
        """Return which of the workgroup's outputs a lane's row of an output tile is."""
        team = thread // (self.width * self.tile.split)
        return (team * self.output_tiles + tile) * ROWS + half * 8 + self.lane(thread) // 4

    def matrix_row(self, workgroup: Any, thread: Any, tile: int, half: int) -> Any:
        """Return the row of the matrix; beyond the end, the last."""
        output = workgroup * self.workgroup_outputs + self.place(
            thread, tile % self.output_tiles, half
        )
        return (
            T.min(output, self.product.outputs - 1)
            + tile // self.output_tiles * self.product.outputs
        )

    def sum(self, tile: int, column_tile: int, half: int, column: int) -> int:
        """Return the index of a sum."""
        return ((tile * self.tile.column_tiles + column_tile) * 2 + half) * 2 + column

    def square(self, column_tile: int, column: int) -> int:
        """Return the index of a sum of squares."""
        return 4 * self.tile.row_tiles * self.tile.column_tiles + 2 * column_tile + column
