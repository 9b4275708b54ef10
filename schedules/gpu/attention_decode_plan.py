"""How workgroups and lanes share the work of attention in a decode step.

The tokens of a sequence are cut into blocks of a token per lane of a workgroup, and consecutive
blocks are a split, the work of one workgroup. How many a split has follows from the sequence's
length alone, so that neither the batch nor the width of block tables nor the pages change a bit.
With a window only the tokens that it reaches are cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.attention_scores import first_seen_in
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.layout import GROUP, KEY_VECTOR, padded

MERGED = 8  # splits whose results are on their way at once
MOST_SHARED_BYTES = 47 << 10  # of CUDA's 48 KiB, of which the driver and alignment take some
NEAR_ELEMENTS = 128  # of a head that DecodeTile.near is about


@dataclass(frozen=True)
class DecodeTile:
    """Subgroups of a workgroup, and the most query heads it has and splits a sequence has.

    `key_unroll` vectors of a key and `value_unroll` vectors of values are on their way at once.
    A sequence of up to `near` blocks, or more of them where heads have fewer than 128 elements, has
    a workgroup for each query head and is not split. A sequence has at most `workgroups`, if splits
    can see to that: those of a second turn would begin when the first are done.
    """

    subgroups: int
    heads: int = 4
    splits: int = 32
    key_unroll: int = 16
    value_unroll: int = 8
    near: int = 0
    workgroups: int = 1 << 16


@dataclass(frozen=True)
class DecodePlan:
    """A DecodeTile applied to a shape, for subgroups of `subgroup` lanes."""

    shape: AttentionShape
    tile: DecodeTile
    subgroup: int

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.tile.subgroups * self.subgroup

    @property
    def subgroups(self) -> int:
        """Return the subgroups of a workgroup."""
        return self.tile.subgroups

    @property
    def splits(self) -> int:
        """Return how many splits a sequence has at most."""
        return min(self.tile.splits, max(1, self.tile.workgroups // self.tasks))

    @property
    def head_dim(self) -> int:
        """Return D."""
        return self.shape.head_dim

    @property
    def kv_dtype(self) -> str:
        """Return the dtype of the pages."""
        return self.shape.kv_dtype

    @property
    def parts(self) -> int:
        """Return among how many workgroups the query heads of a KV head are divided."""
        return -(-self.shape.query_heads // self.tile.heads)

    @property
    def heads(self) -> int:
        """Return the query heads of a workgroup; the last of a KV head may have fewer."""
        return -(-self.shape.query_heads // self.parts)

    @property
    def tasks(self) -> int:
        """Return the workgroups of a sequence's split."""
        return self.shape.num_kv_heads * self.parts

    def kv_head(self, task: Any) -> Any:
        """Return the KV head of a sequence's task."""
        return task // self.parts

    def first_head(self, task: Any) -> Any:
        """Return the first query head of a sequence's task."""
        return self.kv_head(task) * self.shape.query_heads + task % self.parts * self.heads

    def heads_of(self, task: Any) -> Any:
        """Return how many query heads a sequence's task has."""
        if self.shape.query_heads % self.heads == 0:
            return self.heads
        return T.min(self.heads, self.shape.query_heads - task % self.parts * self.heads)

    @property
    def vectors(self) -> int:
        """Return the vectors of a key, or of a value, in memory."""
        return -(-self.head_dim // KEY_VECTOR)

    @property
    def key_unroll(self) -> int:
        """Return how many vectors of a key a lane loads before it multiplies the first."""
        return next(n for n in range(self.tile.key_unroll, 0, -1) if self.vectors % n == 0)

    @property
    def chains(self) -> int:
        """Return in how many sums at once a lane adds up the score of a head."""
        alone = self.heads == 1 and (self.tile.near > 0 or self.tile.splits == 1)
        return 4 if alone else 1

    @property
    def value_lanes(self) -> int:
        """Return how many lanes share a value, a power of 2; some may have no vector of it."""
        return min(self.subgroup, 1 << (self.vectors - 1).bit_length())

    @property
    def lane_vectors(self) -> int:
        """Return how many vectors of a value a lane has, `value_lanes` apart."""
        return -(-self.vectors // self.value_lanes)

    @property
    def token_lanes(self) -> int:
        """Return how many tokens a subgroup weighs at once."""
        return self.subgroup // self.value_lanes

    @property
    def value_unroll(self) -> int:
        """Return how many tokens' values a lane loads before it weighs the first."""
        most = max(1, self.tile.value_unroll // self.lane_vectors)
        return next(n for n in range(most, 0, -1) if self.value_lanes % n == 0)

    @property
    def step_tokens(self) -> int:
        """Return how many tokens a subgroup weighs with the values that were loaded at once."""
        return self.token_lanes * self.value_unroll

    @property
    def sums(self) -> int:
        """Return the sums of a workgroup, one for each element of its heads."""
        return self.heads * self.head_dim

    @property
    def partial_width(self) -> int:
        """Return the float32 numbers of a split's results, whole vectors of four.

        They are the sums, then each head's largest score, then each head's sum of weights.
        """
        return padded(padded(self.sums, 4) + 2 * self.heads, 4)

    def best_at(self, row: Any) -> Any:
        """Return where the largest score of a head is among a split's results."""
        return padded(self.sums, 4) + row

    def weight_at(self, row: Any) -> Any:
        """Return where the sum of weights of a head is among a split's results."""
        return padded(self.sums, 4) + self.heads + row

    @property
    def whole_groups(self) -> bool:
        """Return whether no group of 32 columns of the result is of two workgroups."""
        own = self.shape.query_heads * self.head_dim
        return own % GROUP == 0 and (self.parts == 1 or self.sums % GROUP == 0)

    def head(self, task: Any, row: int) -> Any:
        """Return a query head of a sequence's task; beyond its last one, that again."""
        return self.first_head(task) + T.min(row, self.heads_of(task) - 1)

    def first(self, position: Any) -> Any:
        """Return where blocks begin: 0, or with a window the pages' block that it begins in."""
        return first_seen_in(BLOCK, position, self.shape.variant) * BLOCK

    def blocks(self, position: Any) -> Any:
        """Return how many blocks of tokens a sequence has whose last token is at `position`."""
        return T.truncdiv(position - self.first(position) + self.threads, self.threads)

    def span(self, position: Any) -> Any:
        """Return how many blocks are a split of that sequence."""
        return T.max(T.truncdiv(self.blocks(position) + self.splits - 1, self.splits), 1)

    def split_count(self, position: Any) -> Any:
        """Return how many splits that sequence has; 0 for position -1."""
        span = self.span(position)
        return T.truncdiv(self.blocks(position) + span - 1, span)

    @property
    def near(self) -> DecodePlan | None:
        """Return the plan of a sequence that is not split, if there is one.

        A head's workgroup must make whole groups of columns; both plans share a kernel's memory.
        """
        if self.tile.near == 0 or self.head_dim % GROUP:
            return None
        near = replace(self, tile=replace(self.tile, heads=1, splits=1, near=0))
        return near if self.shared_bytes + near.shared_bytes <= MOST_SHARED_BYTES else None

    @property
    def shared_bytes(self) -> int:
        """Return the shared memory of a workgroup: attention_decode_workgroup.py."""
        width = self.vectors * KEY_VECTOR
        own = self.heads * (width + self.subgroups * (self.subgroup + self.head_dim + 2) + 1)
        return 4 * (own + 2 * width + self.factor_rows * self.heads + 1)

    def is_near(self, position: Any) -> Any:
        """Return whether a sequence whose last token is at `position` is not split."""
        return self.blocks(position) <= self.tile.near * NEAR_ELEMENTS // self.head_dim

    @property
    def factor_rows(self) -> int:
        """Return for how many splits, or none, a workgroup that merges has factors."""
        return padded(self.splits, MERGED)

    @property
    def outputs(self) -> int:
        """Return the sums of a lane."""
        return self.heads * self.lane_vectors * KEY_VECTOR

    @property
    def pairs(self) -> int:
        """Return how many pairs of elements a lane rotates: those of queries, key and value."""
        return -(-(self.heads + 2) * (self.head_dim // 2) // self.threads)

    @property
    def angles(self) -> int:
        """Return how many numbers a lane holds for that, those of a head's norm included."""
        return (4 if self.shape.norms_heads else 2) * self.pairs

    def launched_splits(self, table_width: Any, page_size: Any) -> Any:
        """Return how many splits the widest sequence of a block table can have."""
        blocks = T.truncdiv(table_width * page_size + self.threads - 1, self.threads)
        window = self.shape.variant.window_tokens
        seen = self.splits if window is None else -(-(window + BLOCK - 1) // self.threads)
        launched = T.min(blocks, min(self.splits, seen))
        return launched if self.near is None else T.max(launched, self.heads)
