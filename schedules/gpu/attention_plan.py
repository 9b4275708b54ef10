"""How the lanes of a workgroup share the work of attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import alibi_slope, first_seen_in
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu.layout import KEY_VECTOR, padded

VALUE_VECTOR = 4  # elements of a head that a lane sums
BLOCK = 32  # pages hold a multiple of this


@dataclass(frozen=True)
class AttentionTile:
    """Threads of a workgroup, tokens of a chunk, and the query rows a workgroup may have at most.

    A lane sums values of at most `rows_a_lane` of these; `unroll` values and `key_unroll` vectors
    of a key are on their way at once.
    """

    threads: int
    chunk: int
    rows: int
    rows_a_lane: int = 8
    unroll: int = 16
    key_unroll: int = 16


@dataclass(frozen=True)
class AttentionPlan:
    """An AttentionTile applied to a shape; `queries` query tokens share a workgroup."""

    shape: AttentionShape
    tile: AttentionTile
    subgroup: int
    queries: int

    def __post_init__(self) -> None:
        if self.tile.threads % self.subgroup:
            raise ValueError(f"{self.tile.threads} threads are no whole subgroups")
        if self.lanes_a_row > self.tile.threads:
            raise ValueError(f"heads of {self.head_dim} need more than {self.tile.threads} threads")

    @property
    def threads(self) -> int:
        """Return the threads of the workgroup."""
        return self.tile.threads

    @property
    def subgroups(self) -> int:
        """Return the subgroups of the workgroup."""
        return self.tile.threads // self.subgroup

    @property
    def chunk(self) -> int:
        """Return the tokens of a chunk: those of the tile, or one for each lane if that is more."""
        return max(self.tile.chunk, self.score_lanes)

    @property
    def score_stripes(self) -> int:
        """Return into how many parts the rows are divided among subgroups when they score."""
        return max(n for n in (1, 2, 4, 8, 16) if n <= min(self.rows, self.subgroups))

    @property
    def score_lanes(self) -> int:
        """Return how many tokens are scored at once."""
        return self.threads // self.score_stripes

    @property
    def score_rows(self) -> int:
        """Return how many rows a lane scores."""
        return -(-self.rows // self.score_stripes)

    def score_row(self, thread: Any, index: int) -> Any:
        """Return row `index` that a lane scores; beyond the last row, that again."""
        row = thread // self.score_lanes * self.score_rows + index
        whole = self.rows % self.score_stripes == 0
        return row if whole else T.min(row, self.rows - 1)

    def slope(self, head: Any) -> Any:
        """Return the slope of ALiBi of a query head; None without ALiBi."""
        return alibi_slope(head, self.shape.num_heads, self.shape.variant, T.exp)

    def first_chunk(self, position: Any) -> Any:
        """Return in which chunk the first token is that a query sees; chunks begin at token 0."""
        return first_seen_in(self.chunk, position, self.shape.variant)

    @property
    def heads(self) -> int:
        """Return R, the query heads of a KV head."""
        return self.shape.query_heads

    @property
    def rows(self) -> int:
        """Return the rows of a workgroup: R heads of each query token."""
        return self.queries * self.heads

    @property
    def head_dim(self) -> int:
        """Return D."""
        return self.shape.head_dim

    @property
    def kv_dtype(self) -> str:
        """Return the dtype of the pages."""
        return self.shape.kv_dtype

    @property
    def vectors(self) -> int:
        """Return the 16-byte vectors of a key."""
        return -(-self.head_dim // KEY_VECTOR)

    @property
    def lanes_a_row(self) -> int:
        """Return how many lanes hold a head's output, VALUE_VECTOR elements each."""
        return padded(self.head_dim, KEY_VECTOR) // VALUE_VECTOR

    @property
    def row_stripes(self) -> int:
        """Return into how many parts the rows are divided among lanes.

        As few as registers allow: lanes of other rows read the same values again.
        """
        most = min(self.threads // self.lanes_a_row, self.rows)
        fitting = [n for n in range(1, most + 1) if self.rows % n == 0]
        enough = (n for n in fitting if self.rows // n <= self.tile.rows_a_lane)
        return next(enough, fitting[-1])

    @property
    def token_stripes(self) -> int:
        """Return into how many parts the tokens of a chunk are divided among lanes."""
        stripes = self.threads // self.lanes_a_row // self.row_stripes
        return next(n for n in (8, 4, 2, 1) if n <= stripes)

    @property
    def unroll(self) -> int:
        """Return how many tokens' values a lane loads before it weighs the first."""
        return min(self.tile.unroll, self.chunk // self.token_stripes)

    @property
    def key_unroll(self) -> int:
        """Return how many vectors of a key a lane loads before it multiplies the first."""
        return next(n for n in range(self.tile.key_unroll, 0, -1) if self.vectors % n == 0)

    @property
    def rows_a_lane(self) -> int:
        """Return how many rows a lane sums values for."""
        return self.rows // self.row_stripes

    @property
    def stripe_threads(self) -> int:
        """Return the threads of one stripe of tokens."""
        return self.lanes_a_row * self.row_stripes

    @property
    def value_threads(self) -> int:
        """Return how many threads sum values."""
        return self.stripe_threads * self.token_stripes

    def vector(self, thread: Any) -> Any:
        """Return which vector of the head a lane holds."""
        return thread % self.lanes_a_row

    def row(self, thread: Any, index: int) -> Any:
        """Return the row of a lane's output `index`."""
        return thread // self.lanes_a_row % self.row_stripes * self.rows_a_lane + index

    def token_stripe(self, thread: Any) -> Any:
        """Return which stripe of tokens a lane sums over."""
        return thread // self.stripe_threads


def queries_that_fit(shape: AttentionShape, tile: AttentionTile, row_tile: int) -> int:
    """Return how many query tokens share a workgroup so that R of each are at most tile.rows."""
    most = max(1, tile.rows // shape.query_heads)
    return max(n for n in range(1, most + 1) if row_tile % n == 0)
