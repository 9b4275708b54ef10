# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""RMSNorm of a product's results, added to the residual, on GPUs.

computes  x[m, k] = residual[m, k] + y[m, k] / sqrt(mean(y[m]^2) + eps) * gain[k],
          perhaps quantized as activations.py has it, times the gain of the norm that comes next
shapes    y, residual, x float32 (M, padded(H)); gains float32 (H,); codes and terms as in layout.py
mapping   workgroup  a row;  lane  4 columns, 8 lanes a group
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.activations import COLUMNS, LANES, quantize_columns, sum_of_squares
from ferrylm.schedules.gpu.layout import ActivationLayout, groups, padded
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without


def norm_add(
    rows: Rows, width: int, threads: int, subgroup: int, eps: float, parts: int = 0
) -> Any:
    """Return the PrimFunc (y, gain, residual, [next gain], x, [codes, terms]).

    With `parts` the result is quantized to codes of so many, too.
    """
    extent, wide, chunks = row_count(rows), padded(width), groups(width) * LANES
    layout, quantized = ActivationLayout(width, max(parts, 1)), parts > 0

    @T.prim_func(s_tir=True, private=True)
    def func(
        py: T.handle,
        gain: T.Buffer((width,), "float32"),
        presidual: T.handle,
        next_gain: T.Buffer((width,), "float32"),
        px: T.handle,
        pcodes: T.handle,
        pterms: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": subgroup})
        y = T.match_buffer(py, (extent, wide), "float32")
        residual = T.match_buffer(presidual, (extent, wide), "float32")
        x = T.match_buffer(px, (extent, wide), "float32")
        codes = T.match_buffer(pcodes, layout.codes_shape(extent), "uint32")
        terms = T.match_buffer(pterms, layout.terms_shape(extent), "uint32")
        for m in T.thread_binding(extent, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                factor = T.alloc_buffer((1,), "float32", scope="local")
                partial = T.alloc_buffer((threads // subgroup,), "float32", scope="shared")
                values = T.alloc_buffer((COLUMNS,), "float32", scope="local")
                squares = T.alloc_buffer((1,), "float32", scope="local")
                sum_of_squares(y, m, thread, width, threads, subgroup, partial, factor)
                factor[0] = T.float32(1) / T.sqrt(factor[0] * T.float32(1 / width) + T.float32(eps))
                for i in T.serial((chunks + threads - 1) // threads):
                    chunk = T.meta_var(i * threads + thread)
                    squares[0] = T.float32(0)
                    for j in T.unroll(COLUMNS):
                        column = T.meta_var(chunk * COLUMNS + j)
                        values[j] = T.float32(0)
                        if column < width:
                            values[j] = (
                                residual[m, column] + y[m, column] * factor[0] * gain[column]
                            )
                            squares[0] = squares[0] + values[j] * values[j]
                        if column < wide:
                            x[m, column] = values[j]
                        if quantized and column < width:
                            values[j] = values[j] * next_gain[column]
                    if quantized:
                        quantize_columns(
                            values, squares, m, chunk, chunk < chunks, codes, terms, layout
                        )

    return func if parts else without(func, ["next_gain", "codes", "terms"])
