"""The passes that lower scheduled TensorIR, registered with TVM under `PIPELINE`.

TVM's own list is for every target and schedule; this one holds what the kernels of this project
need, and `LowerMarkedNests` between flattening and vectorization.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.tirx import compilation_pipeline

from ferrylm.schedules.tensorize import LowerMarkedNests

PIPELINE = "ferrylm"


def _passes() -> list[Any]:
    return [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        LowerMarkedNests,
        tirx.transform.NarrowDataType(32),
        s_tir.transform.LoopPartition(),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.StorageRewrite(),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.VerifyMemory(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
    ]


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
