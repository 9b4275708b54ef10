# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Activations that every workgroup of a product quantizes itself, into its shared memory, on GPUs.

The kernel before then quantizes nothing: its workgroups need not make whole groups of outputs, so
that there may be many more of them where a matrix has few rows.

computes  activations.py's quantize: x times the gain of the norm before, and the squares of x
mapping   lane  4 columns
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.activations import COLUMNS, quantize_columns
from ferrylm.schedules.gpu.layout import GROUP


@T.inline
def load_input_gain(gain, held, thread, grid):  # noqa: D103
    width = T.meta_var(grid.product.fmt.columns)
    for i in T.unroll(grid.rounding_turns):
        for j in T.unroll(COLUMNS):
            column = T.meta_var((i * grid.threads + thread) % grid.input_chunks * COLUMNS + j)
            held[i * COLUMNS + j] = gain[T.min(column, width - 1) if width % GROUP > 0 else column]


@T.inline
def round_rows(x, held, codes, terms, first_m, thread, grid):  # noqa: D103
    loaded = T.alloc_buffer((grid.rounding_turns * COLUMNS,), "float32", scope="local")
    values = T.alloc_buffer((COLUMNS,), "float32", scope="local")
    squares = T.alloc_buffer((1,), "float32", scope="local")
    chunks = T.meta_var(grid.input_chunks * grid.columns)
    width = T.meta_var(grid.product.fmt.columns)
    for i in T.unroll(grid.rounding_turns):
        index = T.meta_var(T.min(i * grid.threads + thread, chunks - 1))
        for j in T.vectorized(COLUMNS):
            loaded[i * COLUMNS + j] = x[
                first_m + index // grid.input_chunks, index % grid.input_chunks * COLUMNS + j
            ]
    for i in T.unroll(grid.rounding_turns):
        index = T.meta_var(i * grid.threads + thread)
        chunk = T.meta_var(index % grid.input_chunks)
        if i * grid.threads + thread // grid.subgroup * grid.subgroup < chunks:
            squares[0] = T.float32(0)
            for j in T.unroll(COLUMNS):
                values[j] = loaded[i * COLUMNS + j]
                if width % GROUP > 0:
                    values[j] = T.Select(chunk * COLUMNS + j < width, values[j], T.float32(0))
                squares[0] = squares[0] + values[j] * values[j]
                values[j] = values[j] * held[i * COLUMNS + j]
            quantize_columns(
                values, squares, index // grid.input_chunks, chunk, index < chunks, codes, terms,
                grid.product.inputs,
            )  # fmt: skip
    T.tvm_storage_sync("shared")
