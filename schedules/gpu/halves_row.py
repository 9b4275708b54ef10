# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""What halves.py computes for the few rows of a decode step: a workgroup a row, x read once."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.halves import CHUNK, LANES, SIDES, STEPS, UNIT, WORDS, HalvesLayout
from ferrylm.schedules.gpu.layout import MATRIX_ROWS, padded
from ferrylm.schedules.gpu.operations import half2_pack, subgroup_add
from ferrylm.schedules.gpu.signature import without


@T.inline
def load_unit(x, gain, values, total, m, i, unit, layout, normed):  # noqa: D103
    # Unit i of a lane: 16 bytes of the result, eight columns.
    for j in T.unroll(2 * WORDS):
        column = T.meta_var(
            unit // (STEPS * SIDES) * CHUNK
            + layout.column(unit // SIDES % STEPS, unit % SIDES, j // 2, j % 2)
        )
        values[i * 2 * WORDS + j] = T.float32(0)
        if column < layout.columns:
            values[i * 2 * WORDS + j] = x[m, column]
            if normed:
                total[0] = total[0] + values[i * 2 * WORDS + j] * values[i * 2 * WORDS + j]
                values[i * 2 * WORDS + j] = values[i * 2 * WORDS + j] * gain[column]


@T.inline
def add_squares(total, partial, thread, warps):  # noqa: D103
    total[0] = subgroup_add(total[0])
    if thread % LANES == 0:
        partial[thread // LANES] = total[0]
    T.tvm_storage_sync("shared")
    total[0] = T.float32(0)
    for i in T.unroll(warps):
        total[0] = total[0] + partial[i]


@T.inline
def store_unit(values, out, factor, m, i, unit):  # noqa: D103
    words = T.alloc_buffer((WORDS,), "uint32", scope="local")
    for j in T.unroll(WORDS):
        words[j] = half2_pack(
            values[i * 2 * WORDS + 2 * j] * factor[0],
            values[i * 2 * WORDS + 2 * j + 1] * factor[0],
        )
    for j in T.vectorized(WORDS):
        out[
            m // MATRIX_ROWS,
            unit // (STEPS * SIDES),
            unit // SIDES % STEPS,
            unit % SIDES,
            m % MATRIX_ROWS,
            j,
        ] = words[j]


def halve_row(rows: Rows, width: int, threads: int, eps: float | None = None) -> Any:
    """Return the PrimFunc (x, [gain], out); with `eps` the norm comes first."""
    count, layout, normed = rows.count, HalvesLayout(width), eps is not None
    if count is None or count % MATRIX_ROWS:
        raise ValueError(f"{count} rows of activations, not whole tiles of {MATRIX_ROWS}")
    epsilon, units = 0.0 if eps is None else eps, layout.chunks * STEPS * SIDES
    each = -(-units // threads)

    @T.prim_func(s_tir=True, private=True)
    def func(
        x: T.Buffer((count, padded(width)), "float32"),
        gain: T.Buffer((width,), "float32"),
        out: T.Buffer(layout.shape(count), "uint32"),
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": LANES})
        for m in T.thread_binding(count, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                values = T.alloc_buffer((each * 2 * WORDS,), "float32", scope="local")
                factor = T.alloc_buffer((1,), "float32", scope="local")
                partial = T.alloc_buffer((threads // LANES,), "float32", scope="shared")
                factor[0] = T.float32(0)
                for i in T.unroll(each):
                    if i * threads + thread < units:
                        load_unit(
                            x, gain, values, factor, m, i, i * threads + thread, layout, normed
                        )
                if normed:
                    add_squares(factor, partial, thread, threads // LANES)
                    factor[0] = T.float32(UNIT) / T.sqrt(
                        factor[0] * T.float32(1 / width) + T.float32(epsilon)
                    )
                else:
                    factor[0] = T.float32(UNIT)
                for i in T.unroll(each):
                    if i * threads + thread < units:
                        store_unit(values, out, factor, m, i, i * threads + thread)

    return func if normed else without(func, ["gain"])
