"""How the subgroups of a workgroup share the work of attention on matrix units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.schedules.attention_scores import first_seen_in
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.attention_prompt_plan import PromptPlan

WIDTH = 32  # lanes of a subgroup
ROWS, COLUMNS, DEPTH = 16, 8, 16  # of one instruction
PAIR = 2  # fragments of keys or values that one load brings
VECTOR_WORDS = 4  # 16 bytes
MOST_HEAD = 256  # elements; larger heads leave no registers for their sums
STATIC_BYTES = 48 << 10  # of shared memory; CUDA C++ Programming Guide
_WORD_BYTES = 4


@dataclass(frozen=True)
class MatrixAttentionTile:
    """Subgroups of a workgroup, fragments of 16 query rows of each, tokens of a step.

    `workgroups` are to fit a multiprocessor at once: that limits their registers. Queries stay in
    registers, or `near`, in shared memory, where larger heads or more fragments leave no room.
    """

    subgroups: int
    fragments: int
    tokens: int
    workgroups: int
    near: bool = False

    def __post_init__(self) -> None:
        if self.tokens % BLOCK:
            raise ValueError(f"{self.tokens} tokens are no whole blocks of {BLOCK}")
        if self.subgroups * self.fragments * ROWS % WIDTH:
            raise ValueError("the query rows are no multiple of a subgroup's lanes")


@dataclass(frozen=True)
class MatrixAttentionPlan(PromptPlan):
    """A MatrixAttentionTile applied to a shape."""

    tile: MatrixAttentionTile

    def __post_init__(self) -> None:
        if not fits_matrix_units(self.shape):
            raise ValueError(f"matrix units take no heads such as {self.shape}")

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.tile.subgroups * WIDTH

    @property
    def rows(self) -> int:
        """Return the query rows of a workgroup."""
        return self.tile.subgroups * self.tile.fragments * ROWS

    @property
    def tokens(self) -> int:
        """Return the tokens of a step."""
        return self.tile.tokens

    @property
    def lane_rows(self) -> int:
        """Return how many query rows a lane has numbers of."""
        return 2 * self.tile.fragments

    @property
    def depths(self) -> int:
        """Return how many instructions a score takes."""
        return self.head_dim // DEPTH

    @property
    def score_tiles(self) -> int:
        """Return the fragments of scores of 16 query rows."""
        return self.tokens // COLUMNS

    @property
    def output_tiles(self) -> int:
        """Return the fragments of outputs of 16 query rows."""
        return self.head_dim // COLUMNS

    @property
    def value_stride(self) -> int:
        """Return the vectors from a token's value to the next in shared memory.

        An odd number, so that the same vector of eight neighbours lies in different banks.
        """
        return self.vectors + 1

    @property
    def values_at(self) -> int:
        """Return the first vector of values in shared memory, behind the keys."""
        return self.tokens * self.vectors

    @property
    def queries_at(self) -> int:
        """Return the first vector of queries in shared memory."""
        return self.values_at + self.tokens * self.value_stride

    @property
    def near_words(self) -> int:
        """Return the 32-bit words in shared memory."""
        queries = self.rows * self.vectors if self.tile.near else 0
        return (self.queries_at + queries) * VECTOR_WORDS

    @property
    def scope(self) -> str:
        """Return the kind of shared memory: a kernel that wants much must say so at its launch."""
        return "shared" if self.near_words * _WORD_BYTES <= STATIC_BYTES else "shared.dyn"

    def first_step(self, position: Any) -> Any:
        """Return in which step the first token is that a query sees; steps begin at token 0."""
        return first_seen_in(self.tokens, position, self.shape.variant)

    @property
    def query_words(self) -> int:
        """Return the words of queries that a lane keeps in registers."""
        return 1 if self.tile.near else self.query(self.tile.fragments, 0)

    def query(self, fragment: int, depth: int) -> int:
        """Return where a lane keeps a fragment of queries."""
        return (fragment * self.depths + depth) * 4

    def score(self, fragment: int, tile: int) -> int:
        """Return where a lane keeps a fragment of scores."""
        return (fragment * self.score_tiles + tile) * 4

    def output(self, fragment: int, tile: int) -> int:
        """Return where a lane keeps a fragment of outputs."""
        return (fragment * self.output_tiles + tile) * 4

    def row(self, thread: Any, index: int) -> Any:
        """Return which row of the workgroup a lane's row `index` is."""
        lane = thread % WIDTH
        first = (thread // WIDTH * self.tile.fragments + index // 2) * ROWS
        return first + index % 2 * 8 + lane // 4


def fits_matrix_units(shape: AttentionShape) -> bool:
    """Return whether heads and pages are such that matrix units take them."""
    whole = shape.head_dim % DEPTH == 0 and shape.head_dim <= MOST_HEAD
    return whole and shape.kv_dtype == "float16"
