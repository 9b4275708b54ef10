# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Prepared activations as float32 rows, for checks of the kernels that made them, on GPUs.

computes  out[m, k] = scale * code; or, where the maker kept x as well, x[m, k] if code and scale
          agree with x * gain to the rounding, and sum and squares with the group, NaN if not
          vector[k] = x[0, k], a gain to check with
shapes    codes and terms as in layout.py; x, out float32 (M, padded(H)); gain float32 (H,)
mapping   lane  4 columns, 8 lanes a group
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.activations import COLUMNS, LANES
from ferrylm.schedules.gpu.layout import RADIX, ActivationLayout, groups, padded
from ferrylm.schedules.gpu.operations import clustered_add
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without

ROUNDING = 0.51  # of a code; float32 rounds products of 16-bit codes to 0.002 of one
ADDITION = 1e-5  # relative, of squares


def _byte(word: Any, j: int) -> Any:
    # Up and down again extends the byte's sign.
    return T.shift_right(T.shift_left(T.reinterpret(word, dtype="int32"), 24 - 8 * j), 24)


def expose(rows: Rows, layout: ActivationLayout, threads: int, subgroup: int, *, kept: bool) -> Any:
    """Return the PrimFunc (codes, terms, [x, gain], out)."""
    extent, width, parts = row_count(rows), layout.columns, layout.parts
    wide, chunks = padded(width), groups(width) * LANES

    @T.prim_func(s_tir=True, private=True)
    def func(
        pcodes: T.handle, pterms: T.handle, px: T.handle, gain: T.Buffer((width,), "float32"),
        pout: T.handle,
    ):  # fmt: skip
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": subgroup})
        codes = T.match_buffer(pcodes, layout.codes_shape(extent), "uint32")
        terms = T.match_buffer(pterms, layout.terms_shape(extent), "uint32")
        x = T.match_buffer(px, (extent, wide), "float32")
        out = T.match_buffer(pout, (extent, wide), "float32")
        for m in T.thread_binding(extent, thread="blockIdx.y"):
            for block in T.thread_binding((chunks + threads - 1) // threads, thread="blockIdx.x"):
                for thread in T.thread_binding(threads, thread="threadIdx.x"):
                    values = T.alloc_buffer((COLUMNS,), "int32", scope="local")
                    kept_x = T.alloc_buffer((COLUMNS,), "float32", scope="local")
                    scale = T.alloc_buffer((1,), "float32", scope="local")
                    wrong = T.alloc_buffer((1,), "int32", scope="local")
                    chunk = T.meta_var(T.min(block * threads + thread, chunks - 1))
                    for j in T.unroll(COLUMNS):
                        values[j] = _byte(
                            codes[m, chunk % LANES // 4, chunk // LANES, chunk % 4], j
                        )
                        if parts == 2:
                            values[j] = values[j] * RADIX + _byte(
                                codes[m, 2 + chunk % LANES // 4, chunk // LANES, chunk % 4],
                                j,
                            )
                    scale[0] = T.reinterpret(terms[m, chunk // LANES, 0], dtype="float32")
                    wrong[0] = 0
                    if kept:
                        for j in T.unroll(COLUMNS):
                            kept_x[j] = x[m, chunk * COLUMNS + j]
                        compare(kept_x, values, scale, terms, gain, wrong, m, chunk, layout)
                    else:
                        for j in T.unroll(COLUMNS):
                            kept_x[j] = T.cast(values[j], "float32") * scale[0]
                    if block * threads + thread < chunks:
                        for j in T.unroll(COLUMNS):
                            out[m, chunk * COLUMNS + j] = T.Select(
                                wrong[0] == 0,
                                kept_x[j],
                                T.reinterpret(T.uint32(0x7FC00000), dtype="float32"),
                            )

    return func if kept else without(func, ["x", "gain"])


@T.inline
def compare(x, values, scale, terms, gain, wrong, m, chunk, layout):  # noqa: D103
    sums = T.alloc_buffer((1,), "int32", scope="local")
    squares = T.alloc_buffer((2,), "float32", scope="local")
    sums[0] = 0
    squares[0] = T.float32(0)
    for j in T.unroll(COLUMNS):
        sums[0] = sums[0] + values[j]
        if chunk * COLUMNS + j < layout.columns:
            squares[0] = squares[0] + x[j] * x[j]
            squares[1] = x[j] * gain[chunk * COLUMNS + j]
            if T.abs(T.cast(values[j], "float32") * scale[0] - squares[1]) > (
                T.float32(ROUNDING) * scale[0]
            ):
                wrong[0] = 1
        else:
            if values[j] != 0:
                wrong[0] = 1
    sums[0] = clustered_add(sums[0], LANES)
    squares[0] = clustered_add(squares[0], LANES)
    squares[1] = T.reinterpret(terms[m, chunk // LANES, 2], dtype="float32")
    if sums[0] != T.reinterpret(terms[m, chunk // LANES, 1], dtype="int32"):
        wrong[0] = 1
    if T.abs(squares[0] - squares[1]) > T.float32(ADDITION) * squares[0]:
        wrong[0] = 1


def first_row(rows: Rows, width: int, threads: int) -> Any:
    """Return the PrimFunc (x, vector)."""
    extent, wide = row_count(rows), padded(width)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, vector: T.Buffer((width,), "float32")):
        T.func_attr({"tirx.noalias": True})
        x = T.match_buffer(px, (extent, wide), "float32")
        for block in T.thread_binding((width + threads - 1) // threads, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                if block * threads + thread < width:
                    vector[block * threads + thread] = x[0, block * threads + thread]

    return func
