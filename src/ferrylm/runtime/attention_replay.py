"""The golden vectors of attention: sequences of different lengths in scattered pages.

Every slot of a page that no token fills holds large numbers, and so do pages of nobody: a token
that should be masked is seen at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ferrylm.runtime import golden_inputs as inputs
from ferrylm.runtime.backends.base import Tensor
from ferrylm.runtime.comparison import Comparison, compare
from ferrylm.runtime.device_tensors import Array, aligned_zeros
from ferrylm.runtime.golden_format import KernelCase, KernelCheck, expected_values, refused
from ferrylm.runtime.kv_layout import (
    clear_padding,
    key_shape,
    key_slot,
    put_key,
    put_value,
    take_key,
    take_value,
    value_shape,
)
from ferrylm.runtime.manifest import ModelConfig
from ferrylm.runtime.replay_buffers import ReplayBuffers, spoil_outputs
from ferrylm.runtime.rope import model_tables

_POISON = 500.0
_LOUD = 50.0
_SPARE_PAGES = 2


def replay_attention(
    model: ModelConfig,
    buffers: ReplayBuffers,
    function: Any,
    case: KernelCase,
    check: KernelCheck,
    rows: slice,
) -> Comparison:
    """Compare the output of some rows, what they append, and that nothing else is written.

    Raises ArtifactError for golden data that does not fit the model.
    """
    if case.variant not in {model.layer_attention(i) for i in range(model.num_layers)}:
        raise refused(
            f"the case {case.name[:80]!a}, of no layer", "attention of the model's layers"
        )
    one_sequence = case.operation == "rope_prefill"
    positions = row_positions(case, model)[rows]
    kv_width, heads_width = model.num_kv_heads * model.head_dim, model.num_heads * model.head_dim
    width = heads_width + 2 * kv_width
    buffers.check_size("activations", (case.rows, width), "float32")
    qkv = inputs.plain(case.name + " qkv", (case.rows, width))[rows]
    kept = check.expected.partition(" ")[0]
    pages = _Pages(case, model, kept, buffers)
    sequences = [0] if one_sequence else list(range(case.rows)[rows])
    starts = positions[:1] if one_sequence else positions
    lengths = [positions[-1] + 1] if one_sequence else [p + 1 for p in positions]
    count = buffers.rows(len(qkv), check.batch)
    pages.fill(sequences, starts, lengths, 1 if one_sequence else count)
    where = aligned_zeros((count,), "int32")
    where[:] = -1
    where[: len(positions)] = positions
    context = min(model.context_length, max(lengths))
    tables = model_tables(model, context)
    backend = buffers.backend
    tokens = backend.upload(buffers.tokens(np.zeros(len(qkv)), check.batch))
    fixed = [backend.upload(array) for array in (*tables, where, pages.tables)]
    vectors = [backend.upload(vector) for vector in _layer_vectors(case, model)]

    def call(x: npt.NDArray[np.float32], into: _Pages) -> Tensor:
        activations = buffers.activations(x, check.batch, check.input_width)
        keys, values = backend.upload(into.keys), backend.upload(into.values)
        output = function(tokens, backend.upload(activations), *fixed, keys, values, *vectors)
        into.keys, into.values = backend.download(keys), backend.download(values)
        return output

    before = pages.copy()
    spoil_outputs(backend, lambda: call(np.full_like(qkv, _LOUD), pages.copy()))
    output = backend.download(call(qkv, pages))[: len(positions), :heads_width]
    stored = slice(0, len(positions)) if one_sequence else rows
    shape = (len(row_positions(case, model)), heads_width)
    wanted, tolerance = expected_values(case, check.expected, shape)
    total = compare(output, wanted[stored], tolerance, "output")
    owners = [0] * len(positions) if one_sequence else list(range(len(positions)))
    for what in ("keys", "values"):
        shape = (shape[0], kv_width)
        wanted, tolerance = expected_values(case, f"{kept} {what}", shape)
        found = pages.appended(what, owners, positions)
        total = total.joined(compare(found, wanted[stored], tolerance, f"appended {what}"))
    return total.joined(pages.untouched(before))


def _layer_vectors(case: KernelCase, model: ModelConfig) -> list[npt.NDArray[np.float32]]:
    """Return the gains of heads and the sinks that a layer has, in the order of a function."""
    found = []
    if model.head_norm:
        found.append(inputs.gains(case.name + " gains", 2 * model.head_dim))
    if case.variant.sinks:
        found.append(inputs.sinks(case.name, model.num_heads))
    return found


def row_positions(case: KernelCase, model: ModelConfig) -> list[int]:
    """Return the position of each row that is no padding."""
    window = case.variant.window_tokens
    if case.operation == "rope_decode":
        return inputs.decode_positions(case.rows, model.context_length, window)
    rows = inputs.prefill_rows(case.rows, model.context_length)
    start = inputs.prefill_start(rows, model.context_length, window)
    return list(range(start, start + rows))


class _Pages:
    """One layer's pages, laid out as `page_storage.PageStorage` has them."""

    def __init__(
        self, case: KernelCase, model: ModelConfig, dtype: str, buffers: ReplayBuffers
    ) -> None:
        self._name, self._model, self._dtype, self._buffers = case.name, model, dtype, buffers
        self.tables: Array
        self.keys: Array
        self.values: Array
        self._slots: list[tuple[int, int]] = []

    def fill(self, sequences: list[int], starts: list[int], lengths: list[int], rows: int) -> None:
        """Give sequences pages for `lengths` tokens and write the `starts` tokens they hold.

        There are `rows` block tables; those beyond the sequences are of padding.
        """
        heads, dim, size = self._model.num_kv_heads, self._model.head_dim, self._buffers.page_size
        layout = self._buffers.kv_layout
        counts = [-(-length // size) for length in lengths]
        total = sum(counts) + _SPARE_PAGES
        shapes = [shape(layout, total, heads, dim, size) for shape in (key_shape, value_shape)]
        self.keys, self.values = (
            self._buffers.zeros("pages", shape, self._dtype) for shape in shapes
        )
        self.keys[...] = _POISON
        self.values[...] = _POISON
        clear_padding(layout, self.keys, self.values, dim)
        free = list(np.argsort(inputs.hashed(self._name + " pages", (total - 1,))) + 1)
        self.tables = aligned_zeros((rows, max(counts)), "int32")
        for row, (sequence, start) in enumerate(zip(sequences, starts, strict=True)):
            self.tables[row, : counts[row]] = [free.pop() for _ in range(counts[row])]
            keys = inputs.past(self._name, "keys", sequence, start, heads, dim)
            values = inputs.past(self._name, "values", sequence, start, heads, dim)
            for token in range(start):
                page, slot = self._place(row, token)
                put_key(layout, self.keys, page, slot, keys[token])
                put_value(self.values, page, slot, values[token])

    def copy(self) -> _Pages:
        """Return pages of the same content."""
        copied = object.__new__(_Pages)
        copied.__dict__.update(self.__dict__)
        copied.keys, copied.values = _copy(self.keys), _copy(self.values)
        return copied

    def appended(self, what: str, owners: list[int], positions: list[int]) -> Array:
        """Return what lies at each row's position, and remember that it may have changed."""
        found, layout, dim = [], self._buffers.kv_layout, self._model.head_dim
        for row, position in zip(owners, positions, strict=True):
            page, slot = self._place(row, position)
            self._slots.append((page, slot))
            if what == "keys":
                taken = take_key(layout, self.keys, page, slot, dim)
            else:
                taken = take_value(self.values, page, slot, dim)
            found.append(taken.reshape(-1))
        return np.stack(found)

    def untouched(self, before: _Pages) -> Comparison:
        """Compare all slots but those that were appended to with what they held before."""
        for page, slot in self._slots:
            where = key_slot(self._buffers.kv_layout, page, slot)
            self.keys[where] = before.keys[where]
            self.values[page, :, slot, :] = before.values[page, :, slot, :]
        for what in ("keys", "values"):
            now, then = getattr(self, what), getattr(before, what)
            wrong = np.flatnonzero(now != then)
            if len(wrong):
                index = np.unravel_index(int(wrong[0]), now.shape)
                place = ", ".join(str(int(i)) for i in index)
                problem = f"{what} are written at [{place}], where no token was to be appended"
                return Comparison(now.size, float("inf"), problem)
        return Comparison()

    def _place(self, row: int, position: int) -> tuple[int, int]:
        size = self._buffers.page_size
        return int(self.tables[row, position // size]), position % size


def _copy(array: Array) -> Array:
    copied = aligned_zeros(array.shape, str(array.dtype))
    copied[...] = array
    return copied
