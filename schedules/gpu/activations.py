# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Quantization and RMSNorm of activations, on GPUs.

computes  quantize  v = x * gain, or x; per group of 32: scale = max|v| / L,
                    value = round(v / scale), half to even
                    int8   L = 127, the code is the value
                    int16  L = 127 * 254 + 126, value = 254 * first code + second code
          norm      y[m, k] = x[m, k] / sqrt(mean(x[m]^2) + eps) * gain[k]
shapes    x float32 (M, padded(H)); gain float32 (H,); codes and terms as in layout.py
mapping   quantize  lane  4 columns, 8 lanes a group;  norm  workgroup  a row
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import GROUP, RADIX, ActivationLayout, groups, padded
from ferrylm.schedules.gpu.operations import clustered_add, clustered_max, subgroup_add
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without

COLUMNS = 4  # of a lane
LANES = GROUP // COLUMNS  # of a group
# Of a quantized value, by its number of codes; at 127.5 * RADIX the first code would round to 128.
LARGEST = {1: 127, 2: 127 * RADIX + 126}


def _packed(values: Any) -> Any:
    """Return four int32 codes as the signed bytes of a word, the first lowest."""
    word = T.bitwise_and(values[0], 255)
    for index in (1, 2):
        word = T.bitwise_or(word, T.shift_left(T.bitwise_and(values[index], 255), 8 * index))
    return T.reinterpret(T.bitwise_or(word, T.shift_left(values[3], 24)), dtype="uint32")


@T.inline
def quantize_columns(values, squares, m, chunk, stored, codes, terms, layout):  # noqa: D103
    # Magnitudes as bits: they order as floats do, with infinity and then NaN above all numbers, so
    # that a value that is not finite reaches the scale. A comparison of floats would drop NaN.
    # All lanes of a subgroup take part; those that are not `stored` have zeros.
    largest = T.alloc_buffer((1,), "int32", scope="local")
    factor = T.alloc_buffer((2,), "float32", scope="local")
    rounded = T.alloc_buffer((COLUMNS,), "int32", scope="local")
    high = T.alloc_buffer((COLUMNS,), "int32", scope="local")
    largest[0] = 0
    for j in T.unroll(COLUMNS):
        largest[0] = T.max(
            largest[0],
            T.bitwise_and(T.reinterpret(values[j], dtype="int32"), T.int32(0x7FFFFFFF)),
        )
    largest[0] = clustered_max(largest[0], LANES)
    factor[0] = T.reinterpret(largest[0], dtype="float32")
    # A group of zeros has scale 0; the guard keeps its codes 0 instead of NaN.
    factor[1] = T.float32(LARGEST[layout.parts]) / T.max(factor[0], T.float32(1e-30))
    for j in T.unroll(COLUMNS):
        rounded[j] = T.cast(T.nearbyint(values[j] * factor[1]), "int32")
    if layout.parts == 2:
        for j in T.unroll(COLUMNS):
            high[j] = T.cast(
                T.nearbyint(T.cast(rounded[j], "float32") * T.float32(1 / RADIX)), "int32"
            )
        if stored:
            codes[m, chunk % LANES // 4, chunk // LANES, chunk % 4] = _packed(high)
        for j in T.unroll(COLUMNS):
            high[j] = rounded[j] - high[j] * RADIX
        if stored:
            codes[m, 2 + chunk % LANES // 4, chunk // LANES, chunk % 4] = _packed(high)
    else:
        if stored:
            codes[m, chunk % LANES // 4, chunk // LANES, chunk % 4] = _packed(rounded)
    largest[0] = clustered_add(rounded[0] + rounded[1] + rounded[2] + rounded[3], LANES)
    squares[0] = clustered_add(squares[0], LANES)
    if stored and chunk % LANES == 0:
        terms[m, chunk // LANES, 0] = T.reinterpret(
            factor[0] * T.float32(1 / LARGEST[layout.parts]), dtype="uint32"
        )
        terms[m, chunk // LANES, 1] = T.reinterpret(largest[0], dtype="uint32")
        terms[m, chunk // LANES, 2] = T.reinterpret(squares[0], dtype="uint32")
        terms[m, chunk // LANES, 3] = T.uint32(0)


def quantize(
    rows: Rows, layout: ActivationLayout, threads: int, subgroup: int, *, gained: bool
) -> Any:
    """Return the PrimFunc (x, [gain], codes, terms)."""
    extent, width = row_count(rows), layout.columns
    wide, chunks = padded(width), groups(width) * LANES

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, gain: T.Buffer((width,), "float32"), pcodes: T.handle, pterms: T.handle):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": subgroup})
        x = T.match_buffer(px, (extent, wide), "float32")
        codes = T.match_buffer(pcodes, layout.codes_shape(extent), "uint32")
        terms = T.match_buffer(pterms, layout.terms_shape(extent), "uint32")
        for m in T.thread_binding(extent, thread="blockIdx.y"):
            for block in T.thread_binding((chunks + threads - 1) // threads, thread="blockIdx.x"):
                for thread in T.thread_binding(threads, thread="threadIdx.x"):
                    values = T.alloc_buffer((COLUMNS,), "float32", scope="local")
                    squares = T.alloc_buffer((1,), "float32", scope="local")
                    chunk = T.meta_var(block * threads + thread)
                    squares[0] = T.float32(0)
                    for j in T.unroll(COLUMNS):
                        values[j] = T.float32(0)
                        if chunk * COLUMNS + j < width:
                            values[j] = x[m, chunk * COLUMNS + j]
                            squares[0] = squares[0] + values[j] * values[j]
                            if gained:
                                values[j] = values[j] * gain[chunk * COLUMNS + j]
                    quantize_columns(
                        values, squares, m, chunk, chunk < chunks, codes, terms, layout
                    )

    return func if gained else without(func, ["gain"])


@T.inline
def sum_of_squares(x, m, thread, width, threads, subgroup, partial, total):  # noqa: D103
    total[0] = T.float32(0)
    for i in T.serial((width + threads - 1) // threads):
        if i * threads + thread < width:
            total[0] = total[0] + x[m, i * threads + thread] * x[m, i * threads + thread]
    total[0] = subgroup_add(total[0])
    if threads > subgroup:
        if thread % subgroup == 0:
            partial[thread // subgroup] = total[0]
        T.tvm_storage_sync("shared")
        total[0] = T.float32(0)
        for s in T.unroll(threads // subgroup):
            total[0] = total[0] + partial[s]


def norm(rows: Rows, width: int, threads: int, subgroup: int, eps: float) -> Any:
    """Return the PrimFunc (x, gain, y) of RMSNorm in float32."""
    extent, wide = row_count(rows), padded(width)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, gain: T.Buffer((width,), "float32"), py: T.handle):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": subgroup})
        x = T.match_buffer(px, (extent, wide), "float32")
        y = T.match_buffer(py, (extent, wide), "float32")
        for m in T.thread_binding(extent, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                factor = T.alloc_buffer((1,), "float32", scope="local")
                partial = T.alloc_buffer((threads // subgroup,), "float32", scope="shared")
                sum_of_squares(x, m, thread, width, threads, subgroup, partial, factor)
                factor[0] = T.float32(1) / T.sqrt(factor[0] * T.float32(1 / width) + T.float32(eps))
                for i in T.serial((wide + threads - 1) // threads):
                    if i * threads + thread < width:
                        y[m, i * threads + thread] = (
                            x[m, i * threads + thread] * factor[0] * gain[i * threads + thread]
                        )
                    else:
                        if i * threads + thread < wide:
                            y[m, i * threads + thread] = T.float32(0)

    return func
