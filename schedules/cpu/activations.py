# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""RMSNorm and quantization of activations, on CPUs.

computes  norm      y[m, k] = x[m, k] / sqrt(mean(x[m]^2) + eps) * gain[k]
          norm_add  the same plus residual[m, k]
          quantize  per group of 32: scale = max|v| / L, value = round(v / scale), half to even
                    int8   L = 127, the code is the value
                    int16  L = 127 * 254 + 126, value = 254 * first code + second code
shapes    x float32 (M, padded(H, 16)); gain float32 (H,); codes int8 (M, G, P * 32); terms float32
          (M, G, 2) = scale, scale * sum(values); columns at and beyond H count as zero
mapping   rows in parallel when there are many; 16 lanes along a row
traffic   x once, the result once: all of it in the caches
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.layout import GROUP, LANES, RADIX, groups, padded
from ferrylm.schedules.cpu.rows import Rows

PARALLEL_ROWS = 8
# Of a quantized value, by its number of codes; at 127.5 * RADIX the first code would round to 128.
_LARGEST = {1: 127, 2: 127 * RADIX + 126}


def row_loop(rows: Rows) -> Any:
    """Return the loop kind for independent rows: a few are not worth waking the other threads."""
    return T.serial if rows.count is not None and rows.count < PARALLEL_ROWS else T.parallel


@T.inline
def sum_of_squares(x, m, width: int, total):  # noqa: D103
    squares = T.alloc_buffer((LANES,), "float32", scope="local")
    for lane in T.vectorized(LANES):
        squares[lane] = T.float32(0)
    for k in T.serial(width // LANES):
        for lane in T.vectorized(LANES):
            squares[lane] = squares[lane] + x[m, k * LANES + lane] * x[m, k * LANES + lane]
    total[0] = T.float32(0)
    for lane in T.serial(LANES):
        total[0] = total[0] + squares[lane]
    for k in T.serial(width % LANES):
        total[0] = total[0] + x[m, width - width % LANES + k] * x[m, width - width % LANES + k]


@T.inline
def store_codes(rounded, m, g, codes, parts):  # noqa: D103
    if parts == 2:
        high = T.alloc_buffer((GROUP,), "int32", scope="local")
        for lane in T.vectorized(GROUP):
            high[lane] = T.cast(
                T.nearbyint(T.cast(rounded[lane], "float32") * T.float32(1 / RADIX)), "int32"
            )
        for lane in T.vectorized(GROUP):
            codes[m, g, lane] = T.cast(high[lane], "int8")
        for lane in T.vectorized(GROUP):
            codes[m, g, GROUP + lane] = T.cast(rounded[lane] - high[lane] * RADIX, "int8")
    else:
        for lane in T.vectorized(GROUP):
            codes[m, g, lane] = T.cast(rounded[lane], "int8")


@T.inline
def quantize_group(values, m, g, codes, terms, parts):  # noqa: D103
    # Magnitudes as bits: they order as floats do, with infinity and then NaN above all numbers, so
    # that a value that is not finite reaches the scale. A comparison of floats would drop NaN.
    largest = T.alloc_buffer((LANES,), "int32", scope="local")
    factor = T.alloc_buffer((2,), "float32", scope="local")
    rounded = T.alloc_buffer((GROUP,), "int32", scope="local")
    sums = T.alloc_buffer((LANES,), "int32", scope="local")
    for lane in T.vectorized(16):
        largest[lane] = T.max(
            T.bitwise_and(T.reinterpret(values[lane], dtype="int32"), T.int32(0x7FFFFFFF)),
            T.bitwise_and(T.reinterpret(values[16 + lane], dtype="int32"), T.int32(0x7FFFFFFF)),
        )
    for lane in T.vectorized(8):
        largest[lane] = T.max(largest[lane], largest[8 + lane])
    for lane in T.vectorized(4):
        largest[lane] = T.max(largest[lane], largest[4 + lane])
    for lane in T.vectorized(2):
        largest[lane] = T.max(largest[lane], largest[2 + lane])
    factor[0] = T.reinterpret(T.max(largest[0], largest[1]), dtype="float32")
    # A group of zeros has scale 0; the guard keeps its codes 0 instead of NaN.
    factor[1] = T.float32(_LARGEST[parts]) / T.max(factor[0], T.float32(1e-30))
    for lane in T.vectorized(GROUP):
        rounded[lane] = T.cast(T.nearbyint(values[lane] * factor[1]), "int32")
    store_codes(rounded, m, g, codes, parts)
    for lane in T.vectorized(16):
        sums[lane] = rounded[lane] + rounded[16 + lane]
    for lane in T.vectorized(8):
        sums[lane] = sums[lane] + sums[8 + lane]
    for lane in T.vectorized(4):
        sums[lane] = sums[lane] + sums[4 + lane]
    terms[m, g, 0] = factor[0] * T.float32(1 / _LARGEST[parts])
    terms[m, g, 1] = (
        factor[0]
        * T.float32(1 / _LARGEST[parts])
        * T.cast(sums[0] + sums[1] + sums[2] + sums[3], "float32")
    )


def norm(rows: Rows, width: int, eps: float) -> Any:
    """Return the PrimFunc (x, gain, y) of RMSNorm in float32."""
    parallel = row_loop(rows)
    extent = rows.symbol()

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, gain: T.Buffer((width,), "float32"), py: T.handle):
        T.func_attr({"tirx.noalias": True})
        x = T.match_buffer(px, (extent, padded(width)), "float32")
        y = T.match_buffer(py, (extent, padded(width)), "float32")
        for m in parallel(extent):
            total = T.alloc_buffer((1,), "float32", scope="local")
            sum_of_squares(x, m, width, total)
            total[0] = T.float32(1) / T.sqrt(total[0] * T.float32(1 / width) + T.float32(eps))
            for k in T.serial(width // LANES):
                for lane in T.vectorized(LANES):
                    y[m, k * LANES + lane] = (
                        x[m, k * LANES + lane] * total[0] * gain[k * LANES + lane]
                    )
            for k in T.serial(padded(width) - width // LANES * LANES):
                y[m, width // LANES * LANES + k] = T.float32(0)
            for k in T.serial(width % LANES):
                y[m, width // LANES * LANES + k] = (
                    x[m, width // LANES * LANES + k] * total[0] * gain[width // LANES * LANES + k]
                )

    return func


def norm_add(rows: Rows, width: int, eps: float) -> Any:
    """Return the PrimFunc (x, gain, residual, y) of RMSNorm in float32, added to a residual."""
    parallel = row_loop(rows)
    extent = rows.symbol()

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, gain: T.Buffer((width,), "float32"), presidual: T.handle, py: T.handle):
        T.func_attr({"tirx.noalias": True})
        x = T.match_buffer(px, (extent, padded(width)), "float32")
        residual = T.match_buffer(presidual, (extent, padded(width)), "float32")
        y = T.match_buffer(py, (extent, padded(width)), "float32")
        for m in parallel(extent):
            total = T.alloc_buffer((1,), "float32", scope="local")
            sum_of_squares(x, m, width, total)
            total[0] = T.float32(1) / T.sqrt(total[0] * T.float32(1 / width) + T.float32(eps))
            for k in T.serial(padded(width) - width):
                y[m, width + k] = T.float32(0)
            for k in T.serial(width // LANES):
                for lane in T.vectorized(LANES):
                    y[m, k * LANES + lane] = (
                        residual[m, k * LANES + lane]
                        + x[m, k * LANES + lane] * total[0] * gain[k * LANES + lane]
                    )
            for k in T.serial(width % LANES):
                y[m, width // LANES * LANES + k] = (
                    residual[m, width // LANES * LANES + k]
                    + x[m, width // LANES * LANES + k] * total[0] * gain[width // LANES * LANES + k]
                )

    return func


def norm_quantize(rows: Rows, width: int, eps: float, parts: int) -> Any:
    """Return the PrimFunc (x, gain, codes, terms) of RMSNorm, then quantization to P codes."""
    parallel = row_loop(rows)
    extent = rows.symbol()
    full, rest = width // GROUP, width % GROUP

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, gain: T.Buffer((width,), "float32"), pcodes: T.handle, pterms: T.handle):
        T.func_attr({"tirx.noalias": True})
        x = T.match_buffer(px, (extent, padded(width)), "float32")
        codes = T.match_buffer(pcodes, (extent, groups(width), parts * GROUP), "int8")
        terms = T.match_buffer(pterms, (extent, groups(width), 2), "float32")
        for m in parallel(extent):
            total = T.alloc_buffer((1,), "float32", scope="local")
            values = T.alloc_buffer((GROUP,), "float32", scope="local")
            sum_of_squares(x, m, width, total)
            total[0] = T.float32(1) / T.sqrt(total[0] * T.float32(1 / width) + T.float32(eps))
            for g in T.serial(full):
                for lane in T.vectorized(GROUP):
                    values[lane] = x[m, g * GROUP + lane] * total[0] * gain[g * GROUP + lane]
                quantize_group(values, m, g, codes, terms, parts)
            if rest > 0:
                for lane in T.vectorized(GROUP):
                    values[lane] = T.float32(0)
                for lane in T.serial(rest):
                    values[lane] = x[m, full * GROUP + lane] * total[0] * gain[full * GROUP + lane]
                quantize_group(values, m, full, codes, terms, parts)

    return func


def quantize(rows: Rows, width: int, parts: int) -> Any:
    """Return the PrimFunc (x, codes, terms) that quantizes rows of `width` columns to P codes."""
    parallel = row_loop(rows)
    extent = rows.symbol()
    full, rest = width // GROUP, width % GROUP

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, pcodes: T.handle, pterms: T.handle):
        T.func_attr({"tirx.noalias": True})
        x = T.match_buffer(px, (extent, padded(width)), "float32")
        codes = T.match_buffer(pcodes, (extent, groups(width), parts * GROUP), "int8")
        terms = T.match_buffer(pterms, (extent, groups(width), 2), "float32")
        for m in parallel(extent):
            values = T.alloc_buffer((GROUP,), "float32", scope="local")
            for g in T.serial(full):
                for lane in T.vectorized(GROUP):
                    values[lane] = x[m, g * GROUP + lane]
                quantize_group(values, m, g, codes, terms, parts)
            if rest > 0:
                for lane in T.vectorized(GROUP):
                    values[lane] = T.float32(0)
                for lane in T.serial(rest):
                    values[lane] = x[m, full * GROUP + lane]
                quantize_group(values, m, full, codes, terms, parts)

    return func
