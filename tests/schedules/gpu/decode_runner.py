"""Runs attention of a decode step on sequences of their own pages, and checks what it leaves."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrylm.schedules.gpu.attention_decode import decode_attention
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan, DecodeTile
from ferrylm.schedules.gpu.attention_merge import merge_attention
from ferrylm.schedules.gpu.layout import ActivationLayout, groups, padded
from ferrylm.schedules.gpu.tiles import decode_tile
from tests.schedules.attention_data import AttentionData
from tests.schedules.cases import AttentionCase
from tests.schedules.gpu.machines import VULKAN, Machine
from tests.schedules.variant_cases import data_of

Array = np.ndarray


def device_pages(case: AttentionCase, data: AttentionData) -> tuple[Array, Array]:
    """Return keys (P, Hkv, D / 8, page, 8) and values (P, Hkv, page, padded D), padding zero."""
    keys, values = data.pages
    wide = padded(case.head_dim, 8)
    keys = np.pad(keys, ((0, 0), (0, 0), (0, wide - case.head_dim), (0, 0)))
    p, heads, _, page = keys.shape
    keys = keys.reshape(p, heads, wide // 8, 8, page).swapaxes(3, 4)
    values = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, wide - case.head_dim)))
    return np.ascontiguousarray(keys), np.ascontiguousarray(values)


def head_gains(head_dim: int) -> Array:
    """Return gains of the norms of query heads, then of key heads."""
    return np.random.default_rng(6).uniform(0.5, 2, 2 * head_dim).astype(np.float32)


def _turned_back(heads: Array, angles: Array) -> Array:
    """Return (M, heads, D) that become `heads` when they are rotated by angles (M, D / 2)."""
    half = heads.shape[2] // 2
    a, b = heads[..., :half], heads[..., half:]
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    return np.concatenate([a * cos + b * sin, b * cos - a * sin], axis=2)


class Decode:
    """The kernel of a case for sequences of different content, one a row, built when called."""

    def __init__(
        self,
        case: AttentionCase,
        *,
        batch: int,
        tile: DecodeTile | None = None,
        machine: Machine = VULKAN,
        parts: int = 0,
        merged: bool = True,
    ) -> None:
        self.case, self.batch, self.merged = case, batch, merged
        self.machine, profile = machine, machine.dot
        self.plan = DecodePlan(case.shape, tile or decode_tile(profile), profile.subgroup)
        self.width = case.num_heads * case.head_dim
        self.layout = ActivationLayout(self.width, parts) if parts else None
        self.data = [data_of(case, seed=10 * row) for row in range(batch)]
        self.beside = self.data[0].beside
        self.gains = []
        if case.shape.norms_heads:
            self.gains.append(head_gains(case.head_dim))
        half = case.head_dim // 2
        self.angles = np.random.default_rng(5).random((case.tokens, half)) * 6
        self.pages = [
            np.concatenate(pools)
            for pools in zip(*(device_pages(case, data) for data in self.data), strict=True)
        ]
        self._functions: dict[str, Any] | None = None

    @property
    def table_width(self) -> int:
        """Return the width of the block tables: a page more than any sequence fills."""
        return len(self.data[0].table) + 1

    def functions(self) -> dict[str, Any]:
        """Return the kernels, ready to be called."""
        if self._functions is None:
            layout = self.layout
            found = {
                "decode": decode_attention(
                    self.batch,
                    self.plan,
                    layout if self.merged else None,
                    merged=self.merged,
                    overlap=self.machine.dot.overlap,
                )
            }
            if not self.merged:
                found["merge"] = merge_attention(self.batch, self.plan, layout)
            built = self.machine.build(found)
            self._functions = {name: built[name] for name in found}
        return self._functions

    def _qkv(self, positions: list[int]) -> Array:
        case, where = self.case, np.maximum(positions, 0)
        rows = zip(self.data, where, strict=True)
        queries = np.stack([data.queries[at] for data, at in rows]) / np.float64(
            case.shape.score_scale
        )
        keys, values = [], []
        for data, at in zip(self.data, where, strict=True):
            page, slot = data.table[at // case.page_size], at % case.page_size
            keys.append(data.pages[0][page, :, :, slot])
            values.append(data.pages[1][page, :, slot])
        angles = self.angles[where]
        turned = [_turned_back(np.asarray(heads, np.float64), angles) for heads in (queries, keys)]
        heads = np.concatenate([*turned, np.asarray(values, np.float64)], axis=1)
        qkv = heads.reshape(self.batch, -1)
        found = np.full((self.batch, padded(qkv.shape[1])), 1e30, np.float32)
        found[:, : qkv.shape[1]] = qkv
        return found

    def slots(self, positions: list[int]) -> list[tuple[int, int, int]]:
        """Return row, page and slot of each row's own token."""
        size, each = self.case.page_size, len(self.pages[0]) // self.batch
        return [
            (row, int(self.data[row].table[at // size]) + row * each, at % size)
            for row, at in enumerate(positions)
            if at >= 0
        ]

    def run(self, positions: list[int], *, qkv: Array | None = None) -> list[Array]:
        """Return the results; the pages must be left with the new tokens, the counters with zeros.

        Before, there are NaN where the step's own tokens go, and in the workspace.
        """
        keys, values = (pool.copy() for pool in self.pages)
        for _, page, slot in self.slots(positions):
            keys[page, :, :, slot] = np.nan
            values[page, :, slot, : self.case.head_dim] = np.nan
            if self.case.head_dim % 8:  # what fills up a key is zeros already
                keys[page, :, -1, slot, self.case.head_dim % 8 :] = 0
        tables = np.zeros((self.batch, self.table_width), np.int32)
        for row, data in enumerate(self.data):
            each = len(self.pages[0]) // self.batch
            tables[row, :-1] = data.table + row * each
        angles = (np.cos(self.angles), np.sin(self.angles))
        arrays = [
            self._qkv(positions) if qkv is None else qkv,
            *(table.astype(np.float32) for table in angles),
            np.array(positions, np.int32), tables, keys, values, *self.gains, *self.beside,
        ]  # fmt: skip
        plan, results = self.plan, self._results()
        partial = np.full(
            (self.batch * plan.tasks, plan.splits, plan.partial_width), np.nan, np.float32
        )
        counters = np.zeros((self.batch, plan.tasks), np.int32)
        functions, run = self.functions(), self.machine.run_in_place
        if self.merged:
            found = run(functions["decode"], [*arrays, counters, partial, *results])
            at = len(arrays)
            assert (found[at] == 0).all(), "the counters are left as they were found"
            results = found[at + 2 :]
        else:
            found = run(functions["decode"], [*arrays, partial])
            results = run(functions["merge"], [found[-1], arrays[3], *results])[2:]
        self._check_pages(positions, found[5], found[6], qkv)
        return results

    def _results(self) -> list[Array]:
        if self.layout is None:
            shapes = [((self.batch, padded(self.width)), "float32")]
        else:
            g, parts = groups(self.width), self.layout.parts
            shapes = [((self.batch, 2 * parts, g, 4), "uint32"), ((self.batch, g, 4), "uint32")]
        return [np.full(shape, 0x5A5A5A5A, dtype) for shape, dtype in shapes]

    def _check_pages(
        self, positions: list[int], keys: Array, values: Array, qkv: Array | None
    ) -> None:
        wanted = [pool.copy() for pool in self.pages]
        for found, pool in zip((keys, values), wanted, strict=True):
            for _, page, slot in self.slots(positions):
                where = (page, slice(None), slice(None), slot)
                where = where if pool is wanted[0] else (page, slice(None), slot)
                if qkv is None:
                    ulp = 2e-3 if pool.dtype == np.float16 else 1e-5
                    np.testing.assert_allclose(found[where], pool[where], rtol=ulp, atol=ulp)
                pool[where] = found[where]
            np.testing.assert_array_equal(found, pool, "another slot was written")

    def expected(self, positions: list[int]) -> Array:
        """Return float64 (rows, Hq * D), zeros for a row of padding."""
        rows = zip(self.data, positions, strict=True)
        found = [
            data.expected([at]).reshape(-1) if at >= 0 else np.zeros(self.width)
            for data, at in rows
        ]
        return np.stack(found)
