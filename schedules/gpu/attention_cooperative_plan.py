"""How the subgroups of a workgroup share the work of attention on cooperative matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.runtime.manifest import PLAIN_ATTENTION
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.attention_prompt_plan import PromptPlan
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.profile import GpuProfile

RUN = 2 * KEY_VECTOR  # tokens in a row that a lane has scores of
FLOATS = WORDS = 4  # in 16 bytes
MOST_HEAD = 128  # elements; larger heads leave no registers for queries and sums


@dataclass(frozen=True)
class CooperativeAttentionTile:
    """Subgroups of a workgroup, tiles of query rows of each, tokens of a step.

    Queries stay in registers, or `near`, in shared memory, where larger heads leave no room.
    """

    subgroups: int
    row_tiles: int
    tokens: int
    near: bool = False

    def __post_init__(self) -> None:
        if self.tokens % BLOCK:
            raise ValueError(f"{self.tokens} tokens are no whole blocks of {BLOCK}")


# By subgroup width, then by the largest head. Those of 32 were chosen on an H200, of those that
# RADV compiles for RDNA3 without spills: for heads of 128, (4, 1, 32) with queries in registers was
# 5 % faster on the H200 and spilled on RDNA3, and (4, 2, 32) a quarter behind 7168 tokens, but
# slower at the start of a prompt. Those of 64 lanes ran nowhere; 8 are a CPU that plays GPU.
TILES = {
    8: {MOST_HEAD: CooperativeAttentionTile(1, 1, 32)},
    32: {
        64: CooperativeAttentionTile(4, 1, 64),
        96: CooperativeAttentionTile(4, 1, 32),
        MOST_HEAD: CooperativeAttentionTile(4, 1, 32, near=True),
    },
    64: {MOST_HEAD: CooperativeAttentionTile(2, 1, 64)},
}
# On AMD's units through ROCm, ran nowhere; LLVM spills for none. Queries in registers leave memory
# for two workgroups on a compute unit of RDNA; on CDNA four waves share one workgroup's tokens.
TILES_ROCM = {
    32: {MOST_HEAD: CooperativeAttentionTile(4, 1, 32)},
    64: {64: CooperativeAttentionTile(2, 1, 64), MOST_HEAD: CooperativeAttentionTile(4, 1, 64)},
}


@dataclass(frozen=True)
class CooperativeAttentionPlan(PromptPlan):
    """A CooperativeAttentionTile applied to a shape, for subgroups of `width` lanes.

    Matrices are `size` x `size`. A row is a query head of a token; the query heads of a KV head
    follow each other, then those of the next token.
    """

    tile: CooperativeAttentionTile
    width: int
    size: int

    def __post_init__(self) -> None:
        if self.head_dim % self.size or self.head_dim > MOST_HEAD:
            raise ValueError(f"cooperative matrices take no heads such as {self.shape}")
        if self.tokens % (RUN * self.row_lanes):
            raise ValueError(f"{self.row_lanes} lanes of a row and {self.tokens} tokens")

    @property
    def heads(self) -> int:
        """Return R, the query heads of a KV head."""
        return self.shape.query_heads

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.tile.subgroups * self.width

    @property
    def subgroup_rows(self) -> int:
        """Return the rows of a subgroup."""
        return self.tile.row_tiles * self.size

    @property
    def rows(self) -> int:
        """Return the rows of a workgroup."""
        return self.tile.subgroups * self.subgroup_rows

    @property
    def tokens(self) -> int:
        """Return the tokens of a step."""
        return self.tile.tokens

    @property
    def depths(self) -> int:
        """Return the matrices that a head is."""
        return self.head_dim // self.size

    @property
    def score_tiles(self) -> int:
        """Return the matrices that a step's tokens are."""
        return self.tokens // self.size

    @property
    def row_lanes(self) -> int:
        """Return how many lanes share a row of scores."""
        return self.width // self.size

    @property
    def runs(self) -> int:
        """Return the runs of tokens that a lane has scores of."""
        return self.tokens // RUN // self.row_lanes

    @property
    def token_stride(self) -> int:
        """Return the vectors from a token's key or value to the next in shared memory.

        An odd number, so that the same vector of eight neighbours lies in different banks.
        """
        return self.vectors + 1 - self.vectors % 2

    @property
    def score_stride(self) -> int:
        """Return the vectors from row to row of a subgroup's scores."""
        return self.tokens // FLOATS + 1

    @property
    def weight_stride(self) -> int:
        """Return the vectors from row to row of a subgroup's weights."""
        return self.tokens // KEY_VECTOR + 1

    @property
    def values_at(self) -> int:
        """Return the first vector of values, behind the keys."""
        return self.tokens * self.token_stride

    def scores_at(self, subgroup: Any, row_tile: Any) -> Any:
        """Return the first vector of the scores of a tile of rows."""
        index = subgroup * self.tile.row_tiles + row_tile
        return 2 * self.values_at + index * self.size * self.score_stride

    def weights_at(self, subgroup: Any, row_tile: Any) -> Any:
        """Return the first vector of the weights of a tile of rows."""
        index = subgroup * self.tile.row_tiles + row_tile
        return self.scores_at(self.tile.subgroups, 0) + index * self.size * self.weight_stride

    def queries_at(self, subgroup: Any) -> Any:
        """Return the first vector of a subgroup's queries.

        Where they do not stay, they pass through the place of all that comes later.
        """
        first = self.weights_at(self.tile.subgroups, 0) if self.tile.near else 0
        return first + subgroup * self.subgroup_rows * self.token_stride

    @property
    def near_vectors(self) -> int:
        """Return the vectors of shared memory."""
        subgroups = self.tile.subgroups
        return max(int(self.weights_at(subgroups, 0)), int(self.queries_at(subgroups)))

    @property
    def query_tiles(self) -> int:
        """Return how many matrices of queries registers hold."""
        return self.tile.row_tiles * (1 if self.tile.near else self.depths)

    def query(self, row_tile: Any, depth: Any) -> Any:
        """Return which of them a matrix of queries is."""
        return row_tile if self.tile.near else row_tile * self.depths + depth


def fits_cooperative(profile: GpuProfile, shape: AttentionShape) -> bool:
    """Return whether attention of a prompt can be products of cooperative matrices."""
    if profile.cooperative is None or shape.kv_dtype != "float16":
        return False
    whole = shape.head_dim % profile.cooperative[0] == 0 and shape.head_dim <= MOST_HEAD
    return whole and shape.variant == PLAIN_ATTENTION


def cooperative_plan(profile: GpuProfile, shape: AttentionShape) -> CooperativeAttentionPlan:
    """Return the plan of a shape that `fits_cooperative`."""
    if profile.cooperative is None:
        raise ValueError(f"{profile.name} has no cooperative matrices")
    width = profile.subgroup
    tiles = TILES_ROCM if profile.kind == "rocm" else TILES
    tile = next(tile for most, tile in tiles[width].items() if shape.head_dim <= most)
    return CooperativeAttentionPlan(shape, tile, width, profile.cooperative[0])
