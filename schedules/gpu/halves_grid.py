"""Tiles of products of halves: what a workgroup, a subgroup and a lane work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.halves import CHUNK, LANES, SIDES, STEPS, WORDS, HalvesLayout
from ferrylm.schedules.gpu.layout import GROUP, MATRIX_ROWS, groups, padded
from ferrylm.schedules.gpu.matvec_grid import Product

ROWS = 16  # of weights, of a subgroup
BATCH = 4  # steps of a chunk that are multiplied at once
GROUPS = CHUNK // GROUP  # of a chunk: one a lane of four
TILE_WORDS = STEPS * SIDES * MATRIX_ROWS * WORDS  # of a chunk of 8 rows of activations


@dataclass(frozen=True)
class HalvesTile:
    """Subgroups of a workgroup, 16 rows of weights each; tiles of 8 rows of activations; stages.

    `stages` of tiles are in shared memory at once. `workgroups` is how many of them a
    multiprocessor is to hold: the compiler keeps registers to its share.
    """

    subgroups: int
    row_tiles: int
    stages: int
    workgroups: int = 1

    @property
    def shared_bytes(self) -> int:
        """Return the shared memory of a workgroup's stages."""
        return self.stages * self.row_tiles * TILE_WORDS * 4


@dataclass(frozen=True)
class HalvesGrid:
    """A HalvesTile applied to a product.

    Where an output takes two rows of the matrix, a subgroup's rows are eight of the first and
    eight of the second kind, so that a lane has both. The eight outputs of a subgroup are then the
    columns that one side of one step of the next product holds, 16 bytes a row.
    """

    product: Product
    tile: HalvesTile

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return LANES * self.tile.subgroups

    @property
    def inputs(self) -> HalvesLayout:
        """Return how the activations lie."""
        return HalvesLayout(self.product.fmt.columns)

    @property
    def results(self) -> HalvesLayout:
        """Return how the results lie if they are halves."""
        return HalvesLayout(self.product.outputs)

    @property
    def chunks(self) -> int:
        """Return the number of chunks of columns."""
        return self.inputs.chunks

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
        """Return the words of codes of a lane's two rows of a chunk."""
        return 2 * self.product.fmt.words

    @property
    def subgroup_outputs(self) -> int:
        """Return the outputs of a subgroup."""
        return ROWS // 2 if self.product.pairs else ROWS

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the padded outputs."""
        outputs = self.product.outputs
        covered = padded(outputs, CHUNK) if self.product.pairs else padded(outputs)
        return -(-covered // (self.subgroup_outputs * self.tile.subgroups))

    def place(self, workgroup: Any, thread: Any) -> tuple[Any, Any, Any]:
        """Return chunk, step and side of the outputs of a subgroup, where they are halves."""
        subgroup = workgroup * self.tile.subgroups + thread // LANES
        return subgroup // (STEPS * SIDES), subgroup // SIDES % STEPS, subgroup % SIDES

    def output(self, workgroup: Any, thread: Any, half: int) -> Any:
        """Return which output a lane's row l / 4 or 8 + l / 4 is; gate and up have the same."""
        row = thread % LANES // 4
        if not self.product.pairs:
            return (workgroup * self.tile.subgroups + thread // LANES) * ROWS + half * 8 + row
        chunk, step, side = self.place(workgroup, thread)
        return chunk * CHUNK + HalvesLayout.column(step, side, row // 2, row % 2)

    def matrix_row(self, workgroup: Any, thread: Any, half: int) -> Any:
        """Return the row of the matrix; beyond the end, the last."""
        output = T.min(self.output(workgroup, thread, half), self.product.outputs - 1)
        return output + half * self.product.outputs if self.product.pairs else output

    def group(self, thread: Any, chunk: Any) -> Any:
        """Return the group of weights of a lane in a chunk; beyond the end, the last."""
        found = chunk * GROUPS + thread % GROUPS
        last = groups(self.product.fmt.columns) - 1
        return found if (last + 1) % GROUPS == 0 else T.min(found, last)
