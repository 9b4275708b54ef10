"""How the warpgroups of a workgroup share the work of attention of a prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm.script import tirx as T

from ferrylm.runtime.manifest import PLAIN_ATTENTION
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.attention_prompt_plan import PromptPlan

WIDTH = 32  # lanes of a subgroup
GROUP_THREADS = 128
GROUP_ROWS = 64  # query rows of a warpgroup
DEPTH = 16  # of one product
VECTOR_WORDS, VECTOR_BYTES = 4, 16
SIGNAL_WORDS = 2
CORE_ROWS = 8  # of a core matrix: 128 bytes
COPY_REGISTERS = {2: 40, 3: 32}  # of a thread that copies, by the groups that multiply
GROUP_REGISTERS = {2: 232, 3: 160}


@dataclass(frozen=True)
class WarpgroupTile:
    """Warpgroups that multiply, 64 rows each, beside one that copies; tokens of a step.

    `stages` steps' keys and as many values are in shared memory. With `turns` one warpgroup
    multiplies while the other makes weights of scores.
    """

    groups: int
    tokens: int
    stages: int = 2
    turns: bool = True

    def __post_init__(self) -> None:
        if self.tokens % BLOCK:
            raise ValueError(f"{self.tokens} tokens are no whole blocks of {BLOCK}")
        if self.turns and self.groups != 2:
            raise ValueError("two warpgroups take turns")


# By the size of heads; chosen on an H200 on the shapes of Llama 3 8B and Qwen 2.5 0.5B.
TILES = {64: WarpgroupTile(2, 128, stages=4), 128: WarpgroupTile(2, 128)}


@dataclass(frozen=True)
class WarpgroupPlan(PromptPlan):
    """A WarpgroupTile applied to a shape."""

    tile: WarpgroupTile

    def __post_init__(self) -> None:
        if not fits_warpgroups(self.shape):
            raise ValueError(f"warpgroups take no heads such as {self.shape}")

    @property
    def heads(self) -> int:
        """Return R, the query heads of a KV head: so many rows of a query token."""
        return self.shape.query_heads

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup; the first warpgroup copies."""
        return (1 + self.tile.groups) * GROUP_THREADS

    @property
    def rows(self) -> int:
        """Return the rows of a workgroup."""
        return self.tile.groups * GROUP_ROWS

    @property
    def query_tokens(self) -> int:
        """Return how many query tokens a workgroup's rows belong to at most."""
        return (self.rows + self.heads - 2) // self.heads + 1

    @property
    def tokens(self) -> int:
        """Return the tokens of a step."""
        return self.tile.tokens

    @property
    def stages(self) -> int:
        """Return how many steps' keys are in shared memory."""
        return self.tile.stages

    @property
    def key_copies(self) -> int:
        """Return how many vectors of blocks of keys a lane copies at most."""
        return -(-self.blocks * self.vectors // WIDTH)

    @property
    def tile_vectors(self) -> int:
        """Return the vectors of a step's keys, or its values."""
        return self.tokens * self.vectors

    @property
    def tile_bytes(self) -> int:
        """Return the bytes of a step's keys, or its values."""
        return self.tile_vectors * VECTOR_BYTES

    @property
    def values_at(self) -> int:
        """Return the first vector of values in shared memory, behind the keys."""
        return self.stages * self.tile_vectors

    @property
    def queries_at(self) -> int:
        """Return the first vector of queries in shared memory."""
        return 2 * self.stages * self.tile_vectors

    @property
    def near_words(self) -> int:
        """Return the 32-bit words in shared memory."""
        return self.signals_at + 4 * self.stages * SIGNAL_WORDS

    @property
    def signals_at(self) -> int:
        """Return the first word of the signals, 64 bits each."""
        return (self.queries_at + self.rows * self.vectors) * VECTOR_WORDS

    @property
    def scores(self) -> int:
        """Return how many scores of a step a lane has, of two rows."""
        return self.tokens // 2

    @property
    def outputs(self) -> int:
        """Return how many sums a lane has, of two rows."""
        return self.head_dim // 2

    @property
    def copy_registers(self) -> int:
        """Return the registers of a thread that copies."""
        return COPY_REGISTERS[self.tile.groups]

    @property
    def group_registers(self) -> int:
        """Return the registers of a thread that multiplies."""
        return GROUP_REGISTERS[self.tile.groups]

    def tasks(self, extent: Any) -> Any:
        """Return the tasks of so many query tokens: all rows of KV heads, in parts of `rows`."""
        return self._parts(extent) * self.shape.num_kv_heads

    def rounds(self, extent: Any, workgroups: Any) -> Any:
        """Return how many tasks a workgroup has at most."""
        return T.truncdiv(self.tasks(extent) + workgroups - 1, workgroups)

    def task(self, extent: Any, workgroups: Any, workgroup: Any, turn: Any) -> Any:
        """Return a workgroup's task of a turn: who had a long one gets a short one next."""
        used = T.min(self.tasks(extent), workgroups)
        back = T.truncmod(turn, 2) == 1
        return turn * used + T.Select(back, used - 1 - workgroup, workgroup)

    def first_row(self, extent: Any, task: Any) -> Any:
        """Return the first row of a task; the last rows come first."""
        part = T.truncdiv(task, self.shape.num_kv_heads)
        return (self._parts(extent) - 1 - part) * self.rows

    def kv_head(self, task: Any) -> Any:
        """Return the KV head of a task."""
        return T.truncmod(task, self.shape.num_kv_heads)

    def _parts(self, extent: Any) -> Any:
        return T.truncdiv(extent * self.heads + self.rows - 1, self.rows)

    def row(self, thread: Any, index: int) -> Any:
        """Return which row of the workgroup a lane's row `index`, 0 or 1, is."""
        lane = thread % WIDTH
        return (thread - GROUP_THREADS) // WIDTH * 16 + lane // 4 + 8 * index


def fits_warpgroups(shape: AttentionShape) -> bool:
    """Return whether heads, pages and the variant of attention are such that warpgroups take them.

    The scale of scores is in the queries.
    """
    plain = replace(shape.variant, score_scale=None) == PLAIN_ATTENTION
    return plain and shape.head_dim in TILES and shape.kv_dtype == "float16"
