"""What a kernel must move and compute at least, from the shapes of its arguments and its name.

The bytes are what a step needs: each argument once, but of a table only the rows that are looked
up, and of a pool of keys or values only the tokens that are read or written. The partial results
of attention are counted whole, the chunks that a short sequence leaves empty too. The operations
are those of the model, two for each weight or key and row, whatever a kernel makes of them: a
product with 16-bit activations that takes two byte products is counted once.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ferrylm.runtime.kv_layout import key_shape, layer_bytes, value_shape
from ferrylm.runtime.manifest import Library, ModelConfig
from ferrylm.runtime.tensor_types import ITEM_BYTES

# Products are named ..._STORAGE_ARITHMETIC_ROWSxCOLUMNS_batchB; _prefill is all rows of a chunk.
_PRODUCT = re.compile(
    r"(?:^|_)(?:(?:q4|q8|f16|f32)m?)_(f16|f32|int8|int16)_(\d+)x(\d+)_(?:batch(\d+)|prefill)$"
)
_BATCH = re.compile(r"_batch(\d+)$")
_WINDOW = re.compile(r"_window(\d+)(?:_|$)")  # of attention whose layer has one
_HALVES = re.compile(r"attention_f16(?:_|$)")  # of a prompt, on matrix units
_INDICES = "int32"

PRODUCT, HEAD, ATTENTION, NORM, LOOKUP, OTHER = KINDS = (
    "product", "head", "attention", "norm", "lookup", "other",
)  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """One tensor that a kernel got."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Return the size of the whole tensor."""
        return math.prod(self.shape) * ITEM_BYTES.get(self.dtype, 1)


@dataclass(frozen=True)
class Tables:
    """How to recognize what is not read as a whole, and what one token takes of it."""

    pools: frozenset[tuple[int, ...]]  # shapes of a layer's keys and values
    pool_dtype: str
    pool_token_bytes: int
    rotations: tuple[int, int]  # shape of the cosines, and of the sines
    vocabulary: int
    heads: int
    head_dim: int

    @staticmethod
    def of(
        model: ModelConfig, library: Library, pages: int, page_size: int, context: int
    ) -> Tables:
        """Return the tables of an engine."""
        sizes = (pages, model.num_kv_heads, model.head_dim, page_size)
        layout = library.kv_layout
        return Tables(
            pools=frozenset([key_shape(layout, *sizes), value_shape(layout, *sizes)]),
            pool_dtype=library.kv_dtype,
            pool_token_bytes=layer_bytes(
                layout, library.kv_dtype, model.num_kv_heads, model.head_dim, 1, 1
            ),
            rotations=(context, model.rope_width),
            vocabulary=model.vocab_size,
            heads=model.num_heads,
            head_dim=model.head_dim,
        )


@dataclass(frozen=True)
class StepShape:
    """Which step a kernel belongs to: `sequences` of them, each appends `rows` behind `depth`."""

    sequences: int
    rows: int
    depth: int

    @property
    def all_rows(self) -> int:
        """Return the rows of all sequences."""
        return self.sequences * self.rows

    def context_tokens(self, window: int | None = None) -> int:
        """Return the tokens whose keys the step's attention reads, each row at most a window."""
        tokens = self.depth + self.rows
        return self.sequences * min(tokens, tokens if window is None else window + self.rows - 1)

    def visible_pairs(self, window: int | None = None) -> int:
        """Return the pairs of a new token and one that it attends to, itself among them."""
        pairs = self.rows * self.depth + self.rows * (self.rows + 1) // 2
        if window is not None:
            # The rows that would see more than the window, and by how much the last one would.
            most = max(0, self.depth + self.rows - window)
            beyond = min(self.rows, most)
            pairs -= beyond * most - beyond * (beyond - 1) // 2
        return self.sequences * pairs


@dataclass(frozen=True)
class Traffic:
    """What one call does at least."""

    bytes_moved: int
    operations: int
    arithmetic: str  # of the multiplications: int8, int16, f16, f32; "" where there are none
    kind: str  # one of KINDS


def traffic_of(
    name: str, arguments: tuple[Argument, ...], step: StepShape, tables: Tables
) -> Traffic:
    """Return the least traffic of a kernel's call in a step of this shape."""
    product = _PRODUCT.search(name)
    operations, arithmetic = 0, ""
    if product is not None:
        operations = 2 * int(product[2]) * int(product[3]) * _rows(name, step)
        arithmetic = product[1]
    elif _attends(name):
        operations = 4 * tables.heads * tables.head_dim * step.visible_pairs(_window(name))
        arithmetic = "f16" if _HALVES.search(name) else "f32"
    inputs, output = arguments[:-1], arguments[-1:]
    moved = sum(_read(name, argument, step, tables) for argument in inputs)
    moved += sum(argument.size_bytes for argument in output)
    return Traffic(moved, operations, arithmetic, kind_of(name, tables.vocabulary))


def kind_of(name: str, vocabulary: int) -> str:
    """Return what a kernel is for, one of KINDS."""
    product = _PRODUCT.search(name)
    if product is not None:
        return HEAD if int(product[2]) >= vocabulary else PRODUCT
    if name.startswith(("embed", "select_row")):
        return LOOKUP
    if "attention" in name or name.startswith("rope"):
        return ATTENTION
    return NORM if name.startswith(("norm", "quantize", "halves")) else OTHER


def _attends(name: str) -> bool:
    return "attention" in name and not name.startswith("merge")


def _window(name: str) -> int | None:
    found = _WINDOW.search(name)
    return None if found is None else int(found[1])


def _rows(name: str, step: StepShape) -> int:
    """Return the rows of a kernel: those of its name, because a prefill's head takes one."""
    batch = _BATCH.search(name)
    return int(batch[1]) if batch is not None else step.all_rows


def _read(name: str, argument: Argument, step: StepShape, tables: Tables) -> int:
    """Return the bytes of an input that are read, or in a pool written."""
    if argument.shape in tables.pools and argument.dtype == tables.pool_dtype:
        return _pool_tokens(name, step) * tables.pool_token_bytes
    if argument.dtype == _INDICES:
        return argument.size_bytes
    if argument.shape == tables.rotations and name.startswith("rope"):
        return step.all_rows * ITEM_BYTES[argument.dtype] * (tables.head_dim // 2)
    if name.startswith("rope_attention") and len(argument.shape) == 3:
        return 0  # workgroups' results for each other: where tokens are few there are none
    if name.startswith("embed"):
        return step.all_rows * argument.size_bytes // tables.vocabulary
    if name.startswith("select_row"):
        return argument.size_bytes // argument.shape[0]
    return argument.size_bytes


def _pool_tokens(name: str, step: StepShape) -> int:
    """Return for how many tokens a kernel reads or writes keys, or values."""
    appended = step.all_rows if name.startswith("rope") else 0
    attended = step.context_tokens(_window(name)) if _attends(name) else 0
    return appended + attended
