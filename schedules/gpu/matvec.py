# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Product of a weight matrix and a few rows of activations, on GPUs.

computes  y[m, n] = sum_k w[n, k] * x[m, k], then an epilogue:
          plain     y
          residual  y + r[m, n]
          swiglu    silu(y[m, n]) * y[m, N / 2 + n]
shapes    weights and activations as in layout.py; y float32 (M, padded(N)), zeros beyond N
integer   w = scale * (code - 8), scale * code + minimum or scale * code; per group of 32 columns an
          int32 dot product of bytes (two for int16), then multiply-adds in float32
float     weights are decoded to float32
mapping   workgroup  `subgroups` times `rows` rows of the matrix, all M rows of a tile
          subgroup   `rows` rows
          lane       every W-th group of columns, or 16 bytes of columns of a plain matrix
traffic   the weights once per tile of rows; activations from the cache, once per `rows` rows
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import RADIX, WeightFormat, groups, padded
from ferrylm.schedules.gpu.operations import dot4, fma, subgroup_add
from ferrylm.schedules.gpu.signature import without

EPILOGUES = ("plain", "residual", "swiglu")
LOW = 0x0F0F0F0F  # the low nibble of each byte of a word


@dataclass(frozen=True)
class MatvecTile:
    """How much of a product one workgroup and one subgroup work on; `unroll` steps in flight."""

    subgroups: int
    rows: int
    unroll: int = 1

    def __post_init__(self) -> None:
        if self.rows % 2:
            raise ValueError(f"{self.rows} rows a subgroup: gate and up come in pairs")


def silu(x: Any) -> Any:
    """Return x / (1 + e**-x) for float32 x."""
    return x / (T.float32(1.0) + T.exp(T.float32(0.0) - x))


def matvec(rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile, subgroup: int) -> Any:
    """Return the PrimFunc (activations, weights, [residual], y).

    Activations are (codes, terms) for integer arithmetic, else x float32 (M, padded(K)).
    """
    if epilogue not in EPILOGUES:
        raise ValueError(f"unknown epilogue {epilogue!r}")
    if fmt.integer:
        func = _integer(rows, fmt, epilogue, tile, subgroup)
    elif fmt.grouped:
        func = _grouped_float(rows, fmt, epilogue, tile, subgroup)
    else:
        func = _plain_float(rows, fmt, epilogue, tile, subgroup)
    unused = [] if fmt.minimum or not fmt.grouped else ["minimum"]
    return without(func, unused if epilogue == "residual" else [*unused, "presidual"])


@dataclass(frozen=True)
class _Grid:
    """Which rows of the matrix a subgroup's row r is, and how many workgroups there are."""

    outputs: int
    pairs: bool
    tile: MatvecTile
    columns: int  # rows of activations in a tile

    @property
    def rows(self) -> int:
        """Return how many outputs a subgroup makes."""
        return self.tile.rows // 2 if self.pairs else self.tile.rows

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the padded outputs."""
        per = self.rows * self.tile.subgroups
        return -(-padded(self.outputs) // per)

    def output(self, workgroup: Any, subgroup: Any, r: Any) -> Any:
        """Return the index of output r of a subgroup."""
        return (workgroup * self.tile.subgroups + subgroup) * self.rows + r

    def matrix_row(self, workgroup: Any, subgroup: Any, r: Any) -> Any:
        """Return the row of the matrix that row r of a subgroup is; beyond the end, the last."""
        output = self.output(workgroup, subgroup, r % self.rows)
        return T.min(output, self.outputs - 1) + r // self.rows * self.outputs


def _grid(rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile) -> _Grid:
    pairs = epilogue == "swiglu"
    return _Grid(fmt.rows // 2 if pairs else fmt.rows, pairs, tile, rows.tile)


@T.inline
def store(sums, residual, y, first_m, workgroup, subgroup, lane, grid, epilogue):  # noqa: D103
    result = T.alloc_buffer((1,), "float32", scope="local")
    for r in T.unroll(grid.tile.rows * grid.columns):
        sums[r] = subgroup_add(sums[r])
    for r in T.unroll(grid.rows):
        for m in T.unroll(grid.columns):
            if lane == (r * grid.columns + m) % 8:
                if grid.output(workgroup, subgroup, r) < padded(grid.outputs):
                    result[0] = T.float32(0)
                    if grid.output(workgroup, subgroup, r) < grid.outputs:
                        result[0] = sums[r * grid.columns + m]
                        if epilogue == "swiglu":
                            result[0] = silu(result[0]) * sums[(grid.rows + r) * grid.columns + m]
                        if epilogue == "residual":
                            result[0] = (
                                result[0]
                                + residual[first_m + m, grid.output(workgroup, subgroup, r)]
                            )
                    y[first_m + m, grid.output(workgroup, subgroup, r)] = result[0]


@T.inline
def load_group(codes, scale, minimum, words, terms, row, group, r, fmt):  # noqa: D103
    for j in T.vectorized(4):
        words[r * fmt.words + j] = codes[row, group, j]
    if fmt.words == 8:
        for j in T.vectorized(4):
            words[r * fmt.words + 4 + j] = codes[row, group, 4 + j]
    terms[r, 0] = T.cast(scale[row, group], "float32")
    if fmt.minimum:
        terms[r, 1] = T.cast(minimum[row, group], "float32")


@T.inline
def unpack_nibbles(words, bytes_, r):  # noqa: D103
    for j in T.unroll(4):
        bytes_[r * 8 + j] = T.bitwise_and(words[r * 4 + j], T.uint32(LOW))
        bytes_[r * 8 + 4 + j] = T.bitwise_and(
            T.shift_right(words[r * 4 + j], T.uint32(4)), T.uint32(LOW)
        )


@T.inline
def multiply_group(bytes_, terms, x, x_scale, x_sum, sums, m, columns, rows, fmt):  # noqa: D103
    # Starting at -8 * sum takes the bias out of the codes without an instruction per row.
    dot = T.alloc_buffer((2,), "int32", scope="local")
    for r in T.unroll(rows):
        dot[0] = 0
        dot[1] = 0
        if fmt.storage == "q4" and not fmt.minimum:
            dot[fmt.parts - 1] = x_sum[0] * -8
        for part in T.unroll(fmt.parts):
            for j in T.unroll(8):
                dot[part] = dot4(bytes_[r * 8 + j], x[part * 8 + j], dot[part])
        if fmt.parts == 2:
            dot[0] = dot[0] * RADIX + dot[1]
        sums[r * columns + m] = fma(
            T.cast(dot[0], "float32"), terms[r, 0] * x_scale[0], sums[r * columns + m]
        )
        if fmt.minimum:
            sums[r * columns + m] = fma(
                terms[r, 1], x_scale[0] * T.cast(x_sum[0], "float32"), sums[r * columns + m]
            )


def _integer(rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile, width: int) -> Any:
    extent, columns, g = rows.symbol(), rows.tile, groups(fmt.columns)
    grid, tensors = _grid(rows, fmt, epilogue, tile), fmt.tensors()
    codes_shape, scale_shape = tensors["codes"][1], tensors["scale"][1]
    steps = -(-g // width)
    whole = g % width == 0
    outputs = padded(grid.outputs)

    @T.prim_func(s_tir=True, private=True)
    def func(
        px_codes: T.handle,
        px_terms: T.handle,
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        presidual: T.handle,
        py: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x_codes = T.match_buffer(px_codes, (extent, 2 * fmt.parts, g, 4), "uint32")
        x_terms = T.match_buffer(px_terms, (extent, g, 2), "uint32")
        residual = T.match_buffer(presidual, (extent, outputs), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        for block in T.thread_binding(extent // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(tile.subgroups * width, thread="threadIdx.x"):
                    sums = T.alloc_buffer((tile.rows * columns,), "float32", scope="local")
                    words = T.alloc_buffer((tile.rows * fmt.words,), "uint32", scope="local")
                    bytes_ = T.alloc_buffer((tile.rows * 8,), "uint32", scope="local")
                    terms = T.alloc_buffer((tile.rows, 2), "float32", scope="local")
                    x = T.alloc_buffer((8 * fmt.parts,), "uint32", scope="local")
                    x_scale = T.alloc_buffer((1,), "float32", scope="local")
                    x_sum = T.alloc_buffer((1,), "int32", scope="local")
                    lane = T.meta_var(thread % width)
                    subgroup = T.meta_var(thread // width)
                    for r in T.unroll(tile.rows * columns):
                        sums[r] = T.float32(0)
                    for step in T.serial(steps):
                        group = T.meta_var(
                            step * width + lane if whole else T.min(step * width + lane, g - 1)
                        )
                        for r in T.unroll(tile.rows):
                            load_group(
                                codes, scale, minimum, words, terms,
                                grid.matrix_row(workgroup, subgroup, r), group, r, fmt,
                            )  # fmt: skip
                        for r in T.unroll(tile.rows):
                            if fmt.storage == "q4":
                                unpack_nibbles(words, bytes_, r)
                            else:
                                for j in T.unroll(8):
                                    bytes_[r * 8 + j] = words[r * 8 + j]
                        for m in T.unroll(columns):
                            for part in T.unroll(2 * fmt.parts):
                                for j in T.vectorized(4):
                                    x[part * 4 + j] = x_codes[block * columns + m, part, group, j]
                            x_scale[0] = T.reinterpret(
                                x_terms[block * columns + m, group, 0], dtype="float32"
                            )
                            x_sum[0] = T.reinterpret(
                                x_terms[block * columns + m, group, 1], dtype="int32"
                            )
                            if not whole:
                                # Lanes beyond the last group repeat it; their share is nothing.
                                if step * width + lane >= g:
                                    x_scale[0] = T.float32(0)
                            multiply_group(
                                bytes_, terms, x, x_scale, x_sum, sums, m, columns, tile.rows, fmt
                            )
                    store(
                        sums, residual, y, block * columns, workgroup, subgroup, lane, grid,
                        epilogue,
                    )  # fmt: skip

    return func


@T.inline
def decode_group(words, weight, r, fmt):  # noqa: D103
    for j in T.unroll(32):
        if fmt.storage == "q4":
            weight[j] = T.cast(
                T.bitwise_and(
                    T.shift_right(
                        words[r * 4 + j % 16 // 4], T.uint32(8 * (j % 4) + 4 * (j // 16))
                    ),
                    T.uint32(15),
                ),
                "float32",
            )
        else:
            # Up and down again extends the byte's sign.
            weight[j] = T.cast(
                T.shift_right(
                    T.shift_left(
                        T.reinterpret(words[r * 8 + j // 4], dtype="int32"), 24 - 8 * (j % 4)
                    ),
                    24,
                ),
                "float32",
            )


@T.inline
def multiply_floats(weight, values, terms, totals, sums, r, m, columns, fmt):  # noqa: D103
    dot = T.alloc_buffer((1,), "float32", scope="local")
    dot[0] = T.float32(0)
    for j in T.unroll(32):
        dot[0] = fma(weight[j], values[m * 32 + j], dot[0])
    if fmt.storage == "q4" and not fmt.minimum:
        dot[0] = fma(totals[m], T.float32(-8), dot[0])
    sums[r * columns + m] = fma(dot[0], terms[r, 0], sums[r * columns + m])
    if fmt.minimum:
        sums[r * columns + m] = fma(totals[m], terms[r, 1], sums[r * columns + m])


def _grouped_float(
    rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile, width: int
) -> Any:
    extent, columns, g = rows.symbol(), rows.tile, groups(fmt.columns)
    grid, tensors = _grid(rows, fmt, epilogue, tile), fmt.tensors()
    codes_shape, scale_shape = tensors["codes"][1], tensors["scale"][1]
    steps = -(-g // width)
    outputs, wide = padded(grid.outputs), padded(fmt.columns)

    @T.prim_func(s_tir=True, private=True)
    def func(
        px: T.handle,
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        presidual: T.handle,
        py: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x = T.match_buffer(px, (extent, wide), "float32")
        residual = T.match_buffer(presidual, (extent, outputs), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        for block in T.thread_binding(extent // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(tile.subgroups * width, thread="threadIdx.x"):
                    sums = T.alloc_buffer((tile.rows * columns,), "float32", scope="local")
                    words = T.alloc_buffer((tile.rows * fmt.words,), "uint32", scope="local")
                    terms = T.alloc_buffer((tile.rows, 2), "float32", scope="local")
                    weight = T.alloc_buffer((32,), "float32", scope="local")
                    values = T.alloc_buffer((columns * 32,), "float32", scope="local")
                    totals = T.alloc_buffer((columns,), "float32", scope="local")
                    lane = T.meta_var(thread % width)
                    subgroup = T.meta_var(thread // width)
                    for r in T.unroll(tile.rows * columns):
                        sums[r] = T.float32(0)
                    for step in T.serial(steps):
                        if step * width + lane < g:
                            for r in T.unroll(tile.rows):
                                load_group(
                                    codes, scale, minimum, words, terms,
                                    grid.matrix_row(workgroup, subgroup, r),
                                    step * width + lane, r, fmt,
                                )  # fmt: skip
                            for m in T.unroll(columns):
                                totals[m] = T.float32(0)
                                for q in T.unroll(8):
                                    for j in T.vectorized(4):
                                        values[m * 32 + q * 4 + j] = x[
                                            block * columns + m,
                                            (step * width + lane) * 32 + q * 4 + j,
                                        ]
                                if fmt.storage == "q4":
                                    for j in T.unroll(32):
                                        totals[m] = totals[m] + values[m * 32 + j]
                            for r in T.unroll(tile.rows):
                                decode_group(words, weight, r, fmt)
                                for m in T.unroll(columns):
                                    multiply_floats(
                                        weight, values, terms, totals, sums, r, m, columns, fmt
                                    )
                    store(
                        sums, residual, y, block * columns, workgroup, subgroup, lane, grid,
                        epilogue,
                    )  # fmt: skip

    return func


def _plain_float(rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile, width: int) -> Any:
    extent, columns, vector = rows.symbol(), rows.tile, fmt.vector
    grid, (dtype, shape) = _grid(rows, fmt, epilogue, tile), fmt.tensors()["weight"]
    steps = -(-fmt.columns // (width * vector))
    outputs, wide = padded(grid.outputs), padded(fmt.columns)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, weight: T.Buffer(shape, dtype), presidual: T.handle, py: T.handle):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x = T.match_buffer(px, (extent, wide), "float32")
        residual = T.match_buffer(presidual, (extent, outputs), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        for block in T.thread_binding(extent // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(tile.subgroups * width, thread="threadIdx.x"):
                    sums = T.alloc_buffer((tile.rows * columns,), "float32", scope="local")
                    words = T.alloc_buffer((tile.rows * vector,), dtype, scope="local")
                    values = T.alloc_buffer((columns * vector,), "float32", scope="local")
                    lane = T.meta_var(thread % width)
                    subgroup = T.meta_var(thread // width)
                    for r in T.unroll(tile.rows * columns):
                        sums[r] = T.float32(0)
                    for step in T.serial(steps):
                        if (step * width + lane) * vector < fmt.columns:
                            for r in T.unroll(tile.rows):
                                for j in T.vectorized(vector):
                                    words[r * vector + j] = weight[
                                        grid.matrix_row(workgroup, subgroup, r),
                                        (step * width + lane) * vector + j,
                                    ]
                            for m in T.unroll(columns):
                                for j in T.vectorized(vector):
                                    values[m * vector + j] = x[
                                        block * columns + m, (step * width + lane) * vector + j
                                    ]
                            for r in T.unroll(tile.rows):
                                for m in T.unroll(columns):
                                    for j in T.unroll(vector):
                                        sums[r * columns + m] = fma(
                                            T.cast(words[r * vector + j], "float32"),
                                            values[m * vector + j],
                                            sums[r * columns + m],
                                        )
                    store(
                        sums, residual, y, block * columns, workgroup, subgroup, lane, grid,
                        epilogue,
                    )  # fmt: skip

    return func
