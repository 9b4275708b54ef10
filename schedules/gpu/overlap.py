"""Kernels that start while the one before them ends: programmatic dependent launch, on CUDA.

A kernel lets its successor start at once and waits for its predecessor before it touches anything
but weights (CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization").
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm_ffi import structural_map

from ferrylm.schedules.gpu.operations import grid_dependency_wait, launch_dependents

LAUNCH_PARAMS = "tirx.kernel_launch_params"
DEPENDENT_LAUNCH = "tirx.use_programtic_dependent_launch"  # its spelling in TVM


def overlapped(func: Any, *, waits: bool = False) -> Any:
    """Return the kernel with dependent launch; `waits` says that it waits by itself."""
    first = [launch_dependents()] if waits else [launch_dependents(), grid_dependency_wait()]

    def begin(loop: Any) -> Any:
        if loop.thread_binding is None or loop.thread_binding.thread_tag != "threadIdx.x":
            return loop
        body = tirx.SeqStmt([*(tirx.Evaluate(call) for call in first), loop.body])
        return tirx.For(
            loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding,
            loop.annotations,
        )  # fmt: skip

    body = structural_map(func.body, (tirx.For, begin))
    changed = tirx.PrimFunc(func.params, body, func.ret_type, func.attrs)
    return changed.with_attr(LAUNCH_PARAMS, [DEPENDENT_LAUNCH])
