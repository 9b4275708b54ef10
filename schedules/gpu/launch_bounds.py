"""How many workgroups of a kernel a multiprocessor is to hold; NVIDIA's `__launch_bounds__`."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm_ffi import structural_map

_KEY = "tirx.launch_bounds_min_blocks_per_sm"


def resident(func: Any, workgroups: int) -> Any:
    """Return the kernel with registers limited so that so many workgroups fit at once."""

    def bound(loop: Any) -> Any:
        if loop.thread_binding is None or loop.thread_binding.thread_tag != "threadIdx.x":
            return loop
        body = tirx.AttrStmt(tirx.const(0, "int32"), _KEY, workgroups, loop.body)
        return tirx.For(
            loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding,
            loop.annotations,
        )  # fmt: skip

    body = structural_map(func.body, (tirx.For, bound))
    return tirx.PrimFunc(func.params, body, func.ret_type, func.attrs)
