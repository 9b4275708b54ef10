from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention import chunks_of, decode_attention, prefill_attention
from ferrylm.schedules.gpu.attention_merge import merge_attention
from ferrylm.schedules.gpu.attention_plan import AttentionPlan, AttentionTile, queries_that_fit
from ferrylm.schedules.gpu.layout import ActivationLayout, groups, padded
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_tile
from tests.numeric_gates import FP32, nmse
from tests.schedules.attention_data import AttentionData
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu import gpu_data
from tests.schedules.gpu.vulkan_runner import DOT, build, run

Array = np.ndarray
LENGTHS = (1, 31, 33, 64, 65, 129, 400)
CASES = (
    AttentionCase(3, 3, 18, max(LENGTHS), 32),
    AttentionCase(9, 3, 64, max(LENGTHS), 32),
    AttentionCase(8, 2, 80, max(LENGTHS), 64),
    AttentionCase(4, 1, 96, max(LENGTHS), 32, "float32"),
    AttentionCase(7, 1, 128, max(LENGTHS), 64),
)


def plan_of(shape: AttentionShape, *, prefill: bool, tile: AttentionTile | None = None) -> Any:
    tile = tile or attention_tile(DOT, shape.head_dim, prefill=prefill)
    queries = queries_that_fit(shape, tile, ROW_TILE) if prefill else 1
    return AttentionPlan(shape, tile, DOT.subgroup, queries)


def device_pages(case: AttentionCase, data: AttentionData) -> tuple[Array, Array]:
    """Return keys (P, Hkv, D / 8, page, 8) and values (P, Hkv, page, padded D), padding zero."""
    keys, values = data.pages
    wide = padded(case.head_dim, 8)
    keys = np.pad(keys, ((0, 0), (0, 0), (0, wide - case.head_dim), (0, 0)))
    p, heads, _, page = keys.shape
    keys = keys.reshape(p, heads, wide // 8, 8, page).swapaxes(3, 4)
    values = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, wide - case.head_dim)))
    return np.ascontiguousarray(keys), np.ascontiguousarray(values)


class Attention:
    """The kernels of a case, each built when it is first called."""

    def __init__(self, case: AttentionCase, *, batch: int, tile: AttentionTile | None = None):
        self.case, self.data, self.batch = case, AttentionData(case), batch
        self.plan = plan_of(case.shape, prefill=False, tile=tile)
        self.width = case.num_heads * case.head_dim
        prefill = plan_of(case.shape, prefill=True, tile=tile)
        layout = ActivationLayout(self.width, 2)
        self.functions = {
            "decode": lambda: decode_attention(batch, self.plan),
            "merge": lambda: merge_attention(batch, self.plan),
            "merge_codes": lambda: merge_attention(batch, self.plan, layout),
            "prefill": lambda: prefill_attention(Rows(ROW_TILE), prefill),
        }
        self.built: dict[str, Any] = {}
        self.pages = device_pages(case, self.data)

    def kernel(self, name: str) -> Any:
        """Return a kernel, ready to be called."""
        if name not in self.built:
            self.built[name] = build({name: self.functions[name]()})[name]
        return self.built[name]

    def _inputs(self, positions: list[int], sequences: int) -> list[Any]:
        tables = np.repeat(self.data.table[None], sequences, axis=0)
        queries = self.data.queries[np.maximum(positions, 0)]
        return [queries, *self.pages, tables, np.array(positions, np.int32)]

    def decode(self, positions: list[int], merge: str = "merge") -> list[Array]:
        """Return the results of decode attention and the merge."""
        plan, inputs = self.plan, self._inputs(positions, self.batch)
        chunks = chunks_of(inputs[3].shape[1], self.case.page_size, plan.chunk)
        shape = (self.batch * self.case.num_kv_heads, chunks, plan.heads, self.case.head_dim + 2)
        partial = run(self.kernel("decode"), inputs, [(shape, "float32")])[0]
        g = groups(self.width)
        results: dict[str, Any] = {
            "merge": [((self.batch, padded(self.width)), "float32")],
            "merge_codes": [((self.batch, 4, g, 4), "uint32"), ((self.batch, g, 4), "uint32")],
        }
        return run(self.kernel(merge), [partial, inputs[4]], results[merge])

    def prefill(self, positions: list[int]) -> Array:
        """Return float32 (rows, padded(Hq * D))."""
        shape = (len(positions), padded(self.width))
        return run(self.kernel("prefill"), self._inputs(positions, 1), [(shape, "float32")])[0]

    def expected(self, positions: list[int]) -> Array:
        """Return float64 (rows, Hq * D)."""
        return self.data.expected(positions).reshape(len(positions), -1)


def chunk_up_to(last: int) -> list[int]:
    """Return the positions of a chunk of two tiles at most that ends at `last`, with padding."""
    positions = list(range(max(0, last - 10), last + 1))
    return positions + [-1] * (-len(positions) % ROW_TILE)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decode_and_prefill_keep_the_gate_at_every_length(case: AttentionCase) -> None:
    kernels = Attention(case, batch=2)
    for length in LENGTHS:
        positions = [length - 1, max(0, length - 2)]
        out = kernels.decode(positions)[0]
        expected = kernels.expected(positions)
        assert nmse(out[:, : kernels.width], expected) <= FP32.operator_nmse, length
        assert (out[:, kernels.width :] == 0).all()
        codes, terms = kernels.decode(positions, "merge_codes")
        found = gpu_data.scaled(codes, terms)[:, : kernels.width]
        assert np.abs(found - expected).max() <= 3e-5 * np.abs(expected).max()
        chunk = chunk_up_to(length - 1)
        rows = kernels.prefill(chunk)
        real = [position for position in chunk if position >= 0]
        wanted = kernels.expected(real)
        assert nmse(rows[: len(real), : kernels.width], wanted) <= FP32.operator_nmse, length
        assert (rows[len(real) :] == 0).all(), "a row of padding gives zeros"
        assert (rows[:, kernels.width :] == 0).all()


def test_a_row_of_padding_in_a_batch_changes_no_other_row() -> None:
    kernels = Attention(AttentionCase(6, 2, 32, 150), batch=4)
    out = kernels.decode([149, -1, 3, -1])[0]
    expected = kernels.expected([149, 3])
    assert nmse(out[[0, 2], : kernels.width], expected) <= FP32.operator_nmse
    assert (out[[1, 3]] == 0).all()


def test_the_size_of_pages_does_not_change_a_bit() -> None:
    case = AttentionCase(4, 2, 16, 200, 32)
    one = Attention(case, batch=1)
    for page_size in (96, 256):
        other = Attention(replace(case, page_size=page_size), batch=1)
        for position in (0, 31, 32, 127, 199):
            np.testing.assert_array_equal(one.decode([position])[0], other.decode([position])[0])


def test_other_tiles_give_the_same_attention() -> None:
    case = AttentionCase(8, 2, 64, 300)
    for tile in (AttentionTile(32, 32, 8), AttentionTile(128, 128, 32, 2, 4, 2)):
        kernels = Attention(case, batch=1, tile=tile)
        out = kernels.decode([299])[0]
        assert nmse(out[:, : kernels.width], kernels.expected([299])) <= FP32.operator_nmse


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["query", "values"])
def test_what_is_not_finite_shows_and_a_later_chunk_is_not_read(bad: float, where: str) -> None:
    case = AttentionCase(2, 1, 16, 200)
    kernels = Attention(case, batch=1)
    page, slot = kernels.data.table[150 // 32], 150 % 32
    if where == "query":
        kernels.data.queries[199, 0, 3] = bad
    else:
        kernels.pages[1][page, 0, slot, 3] = bad
    assert not np.isfinite(kernels.decode([199])[0]).all()
    assert np.isfinite(kernels.decode([100])[0]).all()
