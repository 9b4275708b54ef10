"""The passes that lower the GPU kernels of schedules/gpu, registered with TVM under `PIPELINE`.

TVM's own list is for every schedule. Kernels here are bound to threads already and say their
barriers themselves, which its ThreadSync pass does not accept inside a condition. Nor is there its
StorageRewrite: it lets buffers in shared memory take turns, and counts on ThreadSync to keep them
apart. Private memory becomes registers in the driver's compiler either way. CompactBufferAllocation
would shrink buffers of which a kernel takes only addresses.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.tirx import compilation_pipeline

PIPELINE = "ferrylm-gpu"
_OURS = "ferrylm."


def _passes() -> list[Any]:
    return [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.UnifyThreadBinding(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.VerifyMemory(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        _keep_attributes,
        tirx.transform.MakePackedAPI(),
    ]


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _keep_attributes(mod: Any, _context: Any) -> Any:
    """Give kernels the attributes of ours that SplitHostDevice left on the host's function.

    It names the kernels of a function NAME_kernel, NAME_kernel_1, ...
    """
    found = {variable.name_hint: function for variable, function in mod.functions.items()}
    kept = {}
    for variable, function in mod.functions.items():
        names = [name for name in found if variable.name_hint.startswith(f"{name}_kernel")]
        if names:
            owner = found[max(names, key=len)]
            for key, value in owner.attrs.items():
                if str(key).startswith(_OURS):
                    function = function.with_attr(key, value)
        kept[variable] = function
    return tvm.IRModule(kept, attrs=mod.attrs)


def _pipeline() -> tuple[Any, Any, Any]:
    @tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def lower(mod: Any, _context: Any) -> Any:
        return tvm.ir.transform.Sequential(_passes())(mod)

    return (
        lower,
        compilation_pipeline.finalize_host_passes,
        compilation_pipeline.finalize_device_passes,
    )


compilation_pipeline.PIPELINE_MAP[PIPELINE] = _pipeline
