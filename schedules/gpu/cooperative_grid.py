"""Tiles of products on cooperative matrices: what a workgroup, a subgroup and a lane work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.schedules.gpu.cooperative_operations import Shape
from ferrylm.schedules.gpu.cooperative_rows import CooperativeRows
from ferrylm.schedules.gpu.layout import GROUP, groups, padded
from ferrylm.schedules.gpu.matvec_grid import Product

VECTOR = 8  # halves in 16 bytes: what a word of codes becomes


@dataclass(frozen=True)
class CooperativeTile:
    """Subgroups of a workgroup by rows and by outputs, and tiles of each; columns of a stage.

    A subgroup has `row_tiles` times `output_tiles` tiles of sums. `stages` of columns are in shared
    memory: with two, one is filled while the other is multiplied.
    """

    row_subgroups: int
    output_subgroups: int
    row_tiles: int
    output_tiles: int
    columns: int
    stages: int

    def __post_init__(self) -> None:
        if self.columns not in (32, 64) or self.stages not in (1, 2):
            raise ValueError(f"{self.stages} stages of {self.columns} columns")


@dataclass(frozen=True)
class CooperativeGrid:
    """A CooperativeTile applied to a product, for subgroups of `width` and matrices of `shape`."""

    product: Product
    tile: CooperativeTile
    width: int
    shape: Shape

    def __post_init__(self) -> None:
        if self.product.pairs and self.subgroup_outputs % GROUP:
            raise ValueError("results of pairs are whole groups of a subgroup")
        if self.row_vectors % self.threads or self.words % self.threads:
            raise ValueError("a stage that its threads do not divide")

    @property
    def inputs(self) -> CooperativeRows:
        """Return how the activations lie."""
        return CooperativeRows(self.product.fmt.columns)

    @property
    def results(self) -> CooperativeRows:
        """Return how the results lie if they are halves."""
        return CooperativeRows(self.product.outputs)

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.width * self.tile.row_subgroups * self.tile.output_subgroups

    @property
    def rows(self) -> int:
        """Return the rows of activations of a workgroup."""
        return self.tile.row_subgroups * self.tile.row_tiles * self.shape[0]

    @property
    def subgroup_rows(self) -> int:
        """Return the rows of the matrix of a subgroup: of gate and of up where outputs take two."""
        return self.tile.output_tiles * self.shape[1]

    @property
    def subgroup_outputs(self) -> int:
        """Return the outputs of a subgroup."""
        return self.subgroup_rows // 2 if self.product.pairs else self.subgroup_rows

    @property
    def matrix_rows(self) -> int:
        """Return the rows of the matrix of a workgroup."""
        return self.tile.output_subgroups * self.subgroup_rows

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the padded outputs."""
        outputs = self.results.width if self.product.pairs else padded(self.product.outputs)
        return -(-outputs // (self.tile.output_subgroups * self.subgroup_outputs))

    @property
    def chunks(self) -> int:
        """Return the number of stages that the columns are."""
        return -(-self.product.fmt.columns // self.tile.columns)

    @property
    def stride(self) -> int:
        """Return the vectors from row to row of a stage; one more than it has, for the banks."""
        return self.tile.columns // VECTOR + 1

    @property
    def stage_vectors(self) -> int:
        """Return the vectors of shared memory of one stage: activations, then weights."""
        return (self.rows + self.matrix_rows) * self.stride

    @property
    def row_vectors(self) -> int:
        """Return the vectors of activations of a stage."""
        return self.rows * self.tile.columns // VECTOR

    @property
    def words(self) -> int:
        """Return the words of codes of a stage, where one becomes a vector."""
        return self.matrix_rows * self.tile.columns // VECTOR

    @property
    def lane_words(self) -> int:
        """Return how many words of a group a thread decodes one after another."""
        return min(GROUP // VECTOR, self.words // self.threads)

    @property
    def lane_units(self) -> int:
        """Return how many runs of `lane_words` a thread decodes."""
        return self.words // self.threads // self.lane_words

    @property
    def sums_stride(self) -> int:
        """Return the vectors from row to row of a subgroup's sums in shared memory."""
        return self.subgroup_rows // 4 + 1

    @property
    def sums_vectors(self) -> int:
        """Return the vectors of shared memory of a subgroup's sums: one tile high."""
        return self.shape[0] * self.sums_stride

    @property
    def shared_vectors(self) -> int:
        """Return the vectors of shared memory of a workgroup."""
        subgroups = self.tile.row_subgroups * self.tile.output_subgroups
        return max(self.tile.stages * self.stage_vectors, subgroups * self.sums_vectors)

    def matrix_row(self, workgroup: Any, row: Any, least: Any) -> Any:
        """Return which row of the matrix a row of the stage is; `least` is T.min."""
        subgroup, within = row // self.subgroup_rows, row % self.subgroup_rows
        first = (workgroup * self.tile.output_subgroups + subgroup) * self.subgroup_outputs
        last = self.product.outputs - 1
        if not self.product.pairs:
            return least(first + within, last)
        half = within // self.subgroup_outputs
        output = least(first + within % self.subgroup_outputs, last)
        return output + half * self.product.outputs

    def unit(self, index: Any) -> tuple[Any, Any, Any]:
        """Return stage row, group of the stage and first word of a run of words."""
        runs = self.tile.columns // VECTOR // self.lane_words
        word = index % runs * self.lane_words
        return index // runs, word // (GROUP // VECTOR), word % (GROUP // VECTOR)

    @property
    def last_group(self) -> int:
        """Return the last group of a row of the matrix."""
        return groups(self.product.fmt.columns) - 1
