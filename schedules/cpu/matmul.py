"""Product of quantized weights and rows of activations, on CPUs: the algorithm.

computes  y[m, n] = sum_k w[n, k] * x[m, k], then an epilogue:
          plain     y
          residual  y + r[m, n]
          bias      y + b[n]
          swiglu    silu(gate) * up, where row blocks alternate gate, up, gate, up, ...
          geglu     gelu(gate) * up
          capped    cap * tanh(y / cap)
shapes    weights and activations as in layout.py; y float32 (M, padded(N, 16))
int8      w = scale * (code - bias) or scale * code + minimum, x = x_scale * x_code; per group of
          32 columns an int32 dot product of bytes, then one multiply-add in f32
int16     the same with two dot products, of the high and of the low codes of x
f32       w is decoded to f32 and multiplied with unquantized activations
traffic   the weights once per tile of rows; everything else stays in the caches

The order of the additions does not depend on M or on the tiles, so a row's result is bit for bit
the same in every batch.
"""

from __future__ import annotations

from typing import Any

from tvm import te
from tvm.script import tirx as T

from ferrylm.schedules.cpu.layout import LANES, RADIX, WeightFormat, blocks, groups, padded
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.math import gelu, silu, tanh

Tensor = Any

GATES = {"swiglu": silu, "geglu": gelu}
EPILOGUES = ("plain", "residual", "bias", "capped", *GATES)


def matmul(
    rows: Rows,
    fmt: WeightFormat,
    epilogue: str = "plain",
    *,
    signed_weights: bool = False,
    cap: float = 0.0,
) -> Any:
    """Return the PrimFunc ([tiles], activations, weights, [added], y) with its named blocks."""
    if epilogue not in EPILOGUES:
        raise ValueError(f"unknown epilogue {epilogue!r}")
    inputs: list[Tensor]
    if fmt.integer:
        inputs, accumulator = _integer_product(rows.extent, fmt, signed_weights)
    else:
        inputs, accumulator = _float_product(rows.extent, fmt)
    extra, output = _epilogue(rows.extent, fmt, accumulator, epilogue, cap)
    func = te.create_prim_func([*rows.arguments, *inputs, *extra, output])
    return func.without_attr("global_symbol").with_attr("tirx.noalias", True)


def _weights(fmt: WeightFormat) -> dict[str, Tensor]:
    return {
        suffix: te.placeholder(shape, dtype, name=suffix)
        for suffix, (dtype, shape) in fmt.tensors().items()
    }


def _integer_product(rows: Any, fmt: WeightFormat, signed: bool) -> tuple[list[Tensor], Tensor]:
    nb, g = blocks(fmt.rows), groups(fmt.columns)
    x_codes = te.placeholder((rows, g, 32 * fmt.parts), "int8", name="x_codes")
    x_terms = te.placeholder((rows, g, 2), "float32", name="x_terms")
    weights = _weights(fmt)
    bytes_, bias = _weight_bytes(fmt, weights["codes"], signed)
    o = te.reduce_axis((0, 8), name="o")
    j = te.reduce_axis((0, 4), name="j")
    dot = te.compute(
        (nb, rows, g, fmt.parts, LANES),
        lambda b, m, q, part, lane: te.sum(
            bytes_[b, q, o, lane * 4 + j].astype("int32")
            * x_codes[m, q, part * 32 + o * 4 + j].astype("int32"),
            axis=[o, j],
        ),
        name="dot",
    )
    q = te.reduce_axis((0, g), name="q")

    def term(b: Any, m: Any, lane: Any) -> Any:
        total = dot[b, m, q, 0, lane]
        if fmt.parts == 2:
            total = total * RADIX + dot[b, m, q, 1, lane]
        product = total.astype("float32") * x_terms[m, q, 0]
        scale = weights["scale"][fmt.place(b, q, lane)].astype("float32")
        if fmt.minimum:
            return (
                product * scale
                + weights["minimum"][fmt.place(b, q, lane)].astype("float32") * x_terms[m, q, 1]
            )
        if bias:
            product = product - x_terms[m, q, 1] * T.float32(bias)
        return product * scale

    accumulator = te.compute(
        (nb, rows, LANES),
        lambda b, m, lane: te.sum(term(b, m, lane), axis=[q]),
        name="accumulate",
    )
    return [x_codes, x_terms, *weights.values()], accumulator


def _weight_bytes(fmt: WeightFormat, codes: Tensor, signed: bool) -> tuple[Tensor, int]:
    """Return the codes as bytes (NB, G, 8, 64) and what they exceed the true values by."""
    nb, g = blocks(fmt.rows), groups(fmt.columns)
    dtype = "int8" if signed else "uint8"
    if fmt.storage == "q4":

        def nibble(b: Any, q: Any, o: Any, i: Any) -> Any:
            shift = ((o % 2) * 4).astype("uint8")
            value = (codes[fmt.place(b, q, o // 2, i)] >> shift) & T.uint8(15)
            return value.astype(dtype) if signed else value

        bias = 0 if fmt.minimum else 8
        return te.compute((nb, g, 8, 64), nibble, name="unpack"), bias
    if signed and not fmt.pairs:
        return codes, 0
    if signed:
        signed_bytes = te.compute(
            (nb, g, 8, 64), lambda b, q, o, i: codes[fmt.place(b, q, o, i)], name="unpack"
        )
        return signed_bytes, 0

    def biased(b: Any, q: Any, o: Any, i: Any) -> Any:
        return codes[fmt.place(b, q, o, i)].astype("uint8") ^ T.uint8(128)

    return te.compute((nb, g, 8, 64), biased, name="unpack"), 128


def _float_product(rows: Any, fmt: WeightFormat) -> tuple[list[Tensor], Tensor]:
    nb = blocks(fmt.rows)
    x = te.placeholder((rows, padded(fmt.columns)), "float32", name="x")
    weights = _weights(fmt)
    columns = groups(fmt.columns) * 32 if fmt.grouped else fmt.columns
    decoded = te.compute(
        (nb, columns, LANES),
        lambda b, k, lane: _decoded(fmt, weights, b, k, lane),
        name="unpack",
    )
    k = te.reduce_axis((0, fmt.columns), name="k")
    accumulator = te.compute(
        (nb, rows, LANES),
        lambda b, m, lane: te.sum(decoded[b, k, lane] * x[m, k], axis=[k]),
        name="accumulate",
    )
    return [x, *weights.values()], accumulator


def _decoded(fmt: WeightFormat, weights: dict[str, Tensor], b: Any, k: Any, lane: Any) -> Any:
    if not fmt.grouped:
        return weights["weight"][fmt.place(b, k, lane)].astype("float32")
    q, i = k // 32, k % 32
    codes = weights["codes"]
    scale = weights["scale"][fmt.place(b, q, lane)].astype("float32")
    if fmt.storage == "q8":
        return scale * codes[fmt.place(b, q, i, lane)].astype("float32")
    shift = (8 * (i % 4) + 4 * ((i % 8) // 4)).astype("uint32")
    code = ((codes[fmt.place(b, q, i // 8, lane)] >> shift) & T.uint32(15)).astype("int32")
    if fmt.minimum:
        minimum = weights["minimum"][fmt.place(b, q, lane)].astype("float32")
        return scale * code.astype("float32") + minimum
    return scale * (code - 8).astype("float32")


def _epilogue(
    rows: Any, fmt: WeightFormat, accumulator: Tensor, epilogue: str, cap: float
) -> tuple[list[Tensor], Tensor]:
    width = blocks(fmt.rows) * LANES
    if epilogue in GATES:
        gate = GATES[epilogue]
        output = te.compute(
            (rows, width // 2),
            lambda m, n: (
                gate(accumulator[n // LANES * 2, m, n % LANES])
                * accumulator[n // LANES * 2 + 1, m, n % LANES]
            ),
            name="store",
        )
        return [], output
    if epilogue == "residual":
        residual = te.placeholder((rows, width), "float32", name="residual")
        output = te.compute(
            (rows, width),
            lambda m, n: accumulator[n // LANES, m, n % LANES] + residual[m, n],
            name="store",
        )
        return [residual], output
    if epilogue == "bias":
        bias = te.placeholder((fmt.rows,), "float32", name="bias")
        output = te.compute(
            (rows, width),
            lambda m, n: accumulator[n // LANES, m, n % LANES] + _within(bias, n, width),
            name="store",
        )
        return [bias], output
    if epilogue == "capped":
        output = te.compute(
            (rows, width),
            lambda m, n: (
                T.float32(cap) * tanh(accumulator[n // LANES, m, n % LANES] * T.float32(1 / cap))
            ),
            name="store",
        )
        return [], output
    output = te.compute(
        (rows, width), lambda m, n: accumulator[n // LANES, m, n % LANES], name="store"
    )
    return [], output


def _within(vector: Tensor, n: Any, width: int) -> Any:
    """Return element n of a vector, zero beyond its end."""
    size = int(vector.shape[0])
    if size == width:
        return vector[n]
    return T.if_then_else(n < size, vector[n], T.float32(0))
