# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""What the end of a product reads, loaded before there is anything to end, where kernels overlap.

A load at the end costs all of its latency, on NVIDIA about 0.3 us from L2 and twice that from
memory, in every product of a step. A gain and a bias are weights: they arrive while the kernel
waits for the one before. A residual is loaded beside the activations.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.activations import COLUMNS
from ferrylm.schedules.gpu.operations import grid_dependency_wait


@T.inline
def load_added(added, held, first_m, workgroup, thread, grid):  # noqa: D103
    for r in T.unroll(grid.rows):
        for m in T.unroll(grid.columns):
            if grid.writes(thread, r, m) and (
                grid.output(workgroup, thread, r) < grid.product.outputs
            ):
                held[grid.held_at(r, m)] = added[
                    grid.product.added_at(first_m + m, grid.output(workgroup, thread, r))
                ]


@T.inline
def load_constants(added, gain, held, held_gain, first_m, workgroup, thread, grid):  # noqa: D103
    # What no kernel of the step writes.
    chunks = T.meta_var(grid.workgroup_outputs // COLUMNS)
    if grid.early and grid.product.epilogue == "bias":
        load_added(added, held, first_m, workgroup, thread, grid)
    if grid.early and grid.product.gained:
        for j in T.unroll(COLUMNS):
            held_gain[j] = T.float32(0)
            if thread < chunks * grid.columns and (
                (workgroup * chunks + thread % chunks) * COLUMNS + j < grid.product.outputs
            ):
                held_gain[j] = gain[(workgroup * chunks + thread % chunks) * COLUMNS + j]


@T.inline
def wait_for_inputs(added, held, first_m, workgroup, thread, grid):  # noqa: D103
    if grid.overlap:
        T.evaluate(grid_dependency_wait())
    if grid.early and grid.product.epilogue == "residual":
        load_added(added, held, first_m, workgroup, thread, grid)
