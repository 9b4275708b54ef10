"""Tiles of products of halves: what a workgroup, a subgroup and a lane work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.halves import CHUNK, LANES, SIDES, STEPS, HalvesLayout
from ferrylm.schedules.gpu.layout import GROUP, MATRIX_ROWS, groups, padded
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.rounded_rows import WORDS

ROWS = 16  # of weights, of a subgroup
BATCH = 4  # steps of a chunk that are multiplied at once
GROUPS = CHUNK // GROUP  # of a chunk: one a lane of four
TILE_WORDS = STEPS * SIDES * MATRIX_ROWS * WORDS  # of a chunk of 8 rows of activations


@dataclass(frozen=True)
class HalvesRows:
    """Which rows of a product's matrix the bands of 16 are that a subgroup multiplies.

    Where an output takes two rows of the matrix, a band is eight of the first and eight of the
    second kind, so that a lane has both. Its eight outputs are then the columns that one side of
    one step of the next product holds, 16 bytes a row.
    """

    product: Product

    @property
    def inputs(self) -> HalvesLayout:
        """Return how the activations lie."""
        return HalvesLayout(self.product.fmt.columns, not self.product.fmt.grouped)

    @property
    def results(self) -> HalvesLayout:
        """Return how the results lie if they are halves: for weights like these."""
        return HalvesLayout(self.product.outputs, not self.product.fmt.grouped)

    @property
    def chunks(self) -> int:
        """Return the number of chunks of columns."""
        return self.inputs.chunks

    @property
    def bands(self) -> int:
        """Return the number of bands that cover the padded outputs."""
        outputs = self.product.outputs
        if self.product.pairs:
            return 2 * padded(outputs, CHUNK) // ROWS
        return padded(outputs) // ROWS

    def place(self, band: Any) -> tuple[Any, Any, Any]:
        """Return chunk, step and side of the outputs of a band, where they are halves."""
        return band // (STEPS * SIDES), band // SIDES % STEPS, band % SIDES

    def output(self, band: Any, thread: Any, half: int) -> Any:
        """Return which output a lane's row l / 4 or 8 + l / 4 is; gate and up have the same."""
        row = thread % LANES // 4
        if not self.product.pairs:
            return band * ROWS + half * 8 + row
        chunk, step, side = self.place(band)
        return chunk * CHUNK + self.results.column(step, side, row // 2, row % 2)

    def matrix_row(self, band: Any, thread: Any, half: int) -> Any:
        """Return the row of the matrix; beyond the end, the last."""
        output = T.min(self.output(band, thread, half), self.product.outputs - 1)
        return output + half * self.product.outputs if self.product.pairs else output

    def group(self, thread: Any, chunk: Any) -> Any:
        """Return the group of weights of a lane in a chunk; beyond the end, the last."""
        found = chunk * GROUPS + thread % GROUPS
        last = groups(self.product.fmt.columns) - 1
        return found if (last + 1) % GROUPS == 0 else T.min(found, last)


@dataclass(frozen=True)
class _Grid:
    product: Product
    tile: HalvesTile | HalvesStreamTile

    @property
    def rows(self) -> HalvesRows:
        """Return the bands of the matrix."""
        return HalvesRows(self.product)

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return LANES * self.tile.subgroups


@dataclass(frozen=True)
class HalvesTile:
    """Bands, a subgroup each, and tiles of 8 rows of activations of a workgroup; stages.

    `stages` of tiles fit into shared memory, `lead` of them before they are needed; a stage more
    than these and the one in use spares a warp the wait for the slowest one. `workgroups` is how
    many of them a multiprocessor is to hold: the compiler keeps registers to its share.
    """

    subgroups: int
    row_tiles: int
    stages: int
    lead: int
    workgroups: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.lead < self.stages:
            raise ValueError(f"{self.lead} stages ahead in a ring of {self.stages}")


@dataclass(frozen=True)
class HalvesGrid(_Grid):
    """A HalvesTile applied to a product."""

    tile: HalvesTile

    @property
    def stage_words(self) -> int:
        """Return the words of one stage."""
        return self.tile.row_tiles * TILE_WORDS

    @property
    def sums(self) -> int:
        """Return the sums of a lane: four a tile of activations."""
        return 4 * self.tile.row_tiles

    @property
    def words(self) -> int:
        """Return the words of a lane's two rows that are on their way at once.

        They are the codes of a chunk, or what two operations multiply of weights as they are.
        """
        return 2 * self.product.fmt.words if self.product.fmt.grouped else 16

    @property
    def shared_words(self) -> int:
        """Return the words of all stages."""
        return self.tile.stages * self.stage_words

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the bands."""
        return -(-self.rows.bands // self.tile.subgroups)

    def band(self, workgroup: Any, thread: Any) -> Any:
        """Return a subgroup's band."""
        return workgroup * self.tile.subgroups + thread // LANES


@dataclass(frozen=True)
class HalvesStreamTile:
    """Subgroups of a workgroup; how many of them divide the columns; bands of a subgroup."""

    subgroups: int
    split: int
    bands: int

    def __post_init__(self) -> None:
        if self.subgroups % self.split:
            raise ValueError(f"{self.subgroups} subgroups do not split {self.split} ways")


@dataclass(frozen=True)
class HalvesStreamGrid(_Grid):
    """A HalvesStreamTile applied to a product with a few tiles of eight rows of activations."""

    tile: HalvesStreamTile

    @property
    def row_tiles(self) -> int:
        """Return the tiles of activations, all of which every subgroup multiplies."""
        count = self.product.rows.count
        if count is None:
            raise ValueError("a number of rows of activations that is not known")
        return -(-count // MATRIX_ROWS)

    @property
    def sums(self) -> int:
        """Return the sums of a lane: four a band and tile of activations."""
        return 4 * self.tile.bands * self.row_tiles

    @property
    def words(self) -> int:
        """Return the words of codes of a lane's rows of a chunk."""
        return 2 * self.tile.bands * self.product.fmt.words

    @property
    def steps(self) -> int:
        """Return how many chunks a subgroup multiplies."""
        return -(-self.rows.chunks // self.tile.split)

    @property
    def whole(self) -> bool:
        """Whether every subgroup has a chunk in every step."""
        return self.rows.chunks % self.tile.split == 0

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the bands."""
        return -(-self.rows.bands // (self.tile.subgroups // self.tile.split * self.tile.bands))

    def chunk(self, thread: Any, step: Any) -> Any:
        """Return a subgroup's chunk in a step; it may be beyond the last."""
        return step * self.tile.split + thread // LANES % self.tile.split

    def band(self, workgroup: Any, thread: Any, index: int) -> Any:
        """Return a band of a subgroup; those that share columns have the same."""
        teams = self.tile.subgroups // self.tile.split
        team = workgroup * teams + thread // (LANES * self.tile.split)
        return team * self.tile.bands + index
