"""Kernels as the SPIR-V generator gets them: the target of a profile, and a lowered module."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.tirx import compilation_pipeline

from ferrylm.compile.gpu_pipeline import PIPELINE
from ferrylm.schedules.gpu.profile import GpuProfile


def target_of(profile: GpuProfile) -> dict[str, Any]:
    return {
        "kind": "vulkan",
        "thread_warp_size": profile.subgroup,
        "max_num_threads": 1024,
        "max_shared_memory_per_block": profile.shared_bytes,
        "supports_int8": True,
        "supports_int64": True,
        "supports_integer_dot_product": profile.dot,
    }


def lowered(name: str, func: Any, target: dict[str, Any]) -> Any:
    """Return the module of device functions that the code generator gets."""
    bound = tirx.transform.BindTarget(tvm.target.Target(target, host="llvm"))
    host_and_device, _, finish = compilation_pipeline.PIPELINE_MAP[PIPELINE]()
    mod = bound(tvm.IRModule({name: func.with_attr("global_symbol", name)}))
    mod = host_and_device(mod)
    kernels = {
        variable: function
        for variable, function in mod.functions.items()
        if int(function.attrs["calling_conv"]) == tvm.ir.CallingConv.DEVICE_KERNEL_LAUNCH
    }
    return finish()(tvm.IRModule(kernels))
