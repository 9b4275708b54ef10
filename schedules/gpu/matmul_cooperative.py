# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Product of a quantized matrix and many rows of float16 activations on cooperative matrices.

computes  plain     y[m, n] = sum_k w[n, k] * x[m, k]
          residual  plus residual[m, n]
          bias      plus bias[n]
          swiglu    silu(gate[m, n]) * up[m, n], the rows n and N / 2 + n of the matrix, as halves
          geglu     the same with gelu
          capped    cap * tanh(y[m, n] / cap)
          w rounded to float16, x as cooperative_rows.py says, sums in float32
shapes    x as CooperativeRows; weights as layout.py; residual, y float32 (M, padded(N))
mapping   workgroup  a block of rows of activations times a block of rows of the matrix, by stages
                     of columns in shared memory, where weights are halves
          subgroup   `row_tiles` times `output_tiles` tiles of sums
          lane       fills its share of each stage, loaded while the stage before is multiplied
traffic   weights once per workgroup's rows of activations
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.cooperative_blocks import load_stage, multiply_stage, store_stage
from ferrylm.schedules.gpu.cooperative_epilogue import store_results
from ferrylm.schedules.gpu.cooperative_grid import CooperativeGrid, CooperativeTile
from ferrylm.schedules.gpu.cooperative_operations import Shape, clear, subgroup_id
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without


@T.inline
def multiply_stages(  # noqa: D103
    x, codes, scale, minimum, staging, sums, first_row, last_row, workgroup, subgroup, thread, grid
):
    rows = T.alloc_buffer((grid.row_vectors // grid.threads * 4,), "uint32", scope="local")
    words = T.alloc_buffer(
        (grid.lane_units * grid.lane_words * (grid.product.fmt.words // 4),), "uint32",
        scope="local",
    )  # fmt: skip
    terms = T.alloc_buffer((grid.lane_units, 2), "uint32", scope="local")
    left = T.alloc_buffer((grid.tile.row_tiles,), "float16", scope="local")
    right = T.alloc_buffer((1,), "float16", scope="local")
    load_stage(
        x, codes, scale, minimum, rows, words, terms, first_row, last_row, workgroup, thread, 0,
        grid,
    )  # fmt: skip
    for chunk in T.serial(grid.chunks):
        first = T.meta_var(chunk % grid.tile.stages * grid.stage_vectors)
        if grid.tile.stages == 1:
            T.tvm_storage_sync("shared")
        store_stage(rows, words, terms, staging, thread, first, grid)
        T.tvm_storage_sync("shared")
        load_stage(
            x, codes, scale, minimum, rows, words, terms, first_row, last_row, workgroup, thread,
            T.min(chunk + 1, grid.chunks - 1), grid,
        )  # fmt: skip
        multiply_stage(staging, sums, left, right, first, subgroup, grid)
    T.tvm_storage_sync("shared")


def cooperative_matmul(product: Product, tile: CooperativeTile, width: int, shape: Shape) -> Any:
    """Return the PrimFunc (x, weights..., [added], y or halves) for subgroups of `width`."""
    fmt, grid = product.fmt, CooperativeGrid(product, tile, width, shape)
    extent, outputs = row_count(product.rows), padded(product.outputs)
    (_, codes_shape), (_, scale_shape) = fmt.tensors()["codes"], fmt.tensors()["scale"]

    @T.prim_func(s_tir=True, private=True)
    def func(
        px: T.handle,
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        presidual: T.handle,
        py: T.handle,
        pout: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x = T.match_buffer(px, grid.inputs.shape(extent), "uint32")
        residual = T.match_buffer(presidual, product.added_shape(extent), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        out = T.match_buffer(pout, grid.results.shape(extent), "uint32")
        for block in T.thread_binding((extent + grid.rows - 1) // grid.rows, thread="blockIdx.x"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.y"):
                for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                    staging = T.alloc_buffer((grid.shared_vectors,), "uint32x4", scope="shared")
                    sums = T.alloc_buffer(
                        (tile.row_tiles * tile.output_tiles,), "float32", scope="local"
                    )
                    subgroup = T.alloc_buffer((1,), "int32", scope="local")
                    subgroup[0] = subgroup_id()
                    for i in T.unroll(tile.row_tiles * tile.output_tiles):
                        T.evaluate(clear(sums[i], shape))
                    multiply_stages(
                        x, codes, scale, minimum, staging, sums, block * grid.rows, extent - 1,
                        workgroup, subgroup[0], thread, grid,
                    )  # fmt: skip
                    store_results(
                        staging, sums, residual, y, out, block * grid.rows, extent - 1, workgroup,
                        subgroup[0], thread % width, grid,
                    )  # fmt: skip

    dropped = [name for name in product.unused() if name not in ("gain", "y", "y_codes", "y_terms")]
    return without(func, [*dropped, "y" if product.pairs else "out"])
