"""Kernels that start while the one before them ends: programmatic dependent launch, on CUDA.

A kernel lets its successor start at once and waits for its predecessor before it touches anything
but what no kernel of the step writes: weights, positions, block tables, and in pages the tokens of
earlier steps (CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization").

A step's first kernel is launched as any other: once everything before has ended. Kernels pile up
behind it, each waiting for the one before, so that whatever runs during a step begins after all
earlier steps, although a kernel's own wait speaks of its predecessor alone. The kernel that draws
tokens is a step's last: it alone writes tokens and positions, after its wait, when all others have
ended.
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
    return _beginning_with(func, first).with_attr(LAUNCH_PARAMS, [DEPENDENT_LAUNCH])


def leading(func: Any) -> Any:
    """Return a step's first kernel: it lets the next one start and depends on none itself."""
    # The empty list says that its launch is settled.
    return _beginning_with(func, [launch_dependents()]).with_attr(LAUNCH_PARAMS, [])


def _beginning_with(func: Any, first: list[Any]) -> Any:
    """Return the kernel whose threads all make some calls first."""

    def begin(loop: Any) -> Any:
        if loop.thread_binding is None or loop.thread_binding.thread_tag != "threadIdx.x":
            return loop
        body = tirx.SeqStmt([*(tirx.Evaluate(call) for call in first), loop.body])
        return tirx.For(
            loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding,
            loop.annotations,
        )  # fmt: skip

    body = structural_map(func.body, (tirx.For, begin))
    return tirx.PrimFunc(func.params, body, func.ret_type, func.attrs)
