# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""A library with a step of three launches for NVIDIA GPUs."""

from __future__ import annotations

from typing import Any

from tvm import relax
from tvm.script import relax as R
from tvm.script import tirx as T

from ferrylm.compile.cuda.architectures import parse_architectures
from ferrylm.compile.cuda.build_hook import ahead_of_time
from ferrylm.compile.cuda.launch_order import DEPENDENT_LAUNCH
from ferrylm.compile.cuda.library import cuda_target, export_cuda_library
from ferrylm.compile.gpu_pipeline import PIPELINE
from ferrylm.compile.relax_pipeline import lower_relax


def double(*, dependent: bool) -> Any:
    """Return a kernel that doubles 256 floats, and may start before the one before has ended."""
    tags = [DEPENDENT_LAUNCH] if dependent else []

    @T.prim_func(s_tir=True, private=True)
    def func(pa: T.handle, pb: T.handle):
        T.func_attr({"tirx.kernel_launch_params": tags, "tirx.noalias": True})
        a = T.match_buffer(pa, (256,), "float32")
        b = T.match_buffer(pb, (256,), "float32")
        for block in T.thread_binding(2, thread="blockIdx.x"):
            for thread in T.thread_binding(128, thread="threadIdx.x"):
                if T.bool(dependent):
                    T.evaluate(T.call_extern("int32", "ferrylm.grid_dependency_wait"))
                b[block * 128 + thread] = a[block * 128 + thread] * T.float32(2)

    return func


def step_library(*architectures: str) -> bytes:
    """Return a library whose main(x) launches double, double_early and double."""
    builder = relax.BlockBuilder()
    tensor = R.Tensor((256,), "float32")
    plain = builder.add_func(double(dependent=False), "double")
    early = builder.add_func(double(dependent=True), "double_early")
    x = relax.Var("x", tensor)
    with builder.function("main", [x]):
        with builder.dataflow():
            value = x
            for kernel in (plain, early, plain):
                value = builder.emit(relax.call_tir(kernel, [value], tensor))
            output = builder.emit_output(value)
        builder.emit_func_output(output)
    with ahead_of_time():
        executable = relax.build(
            builder.get(),
            target=cuda_target(),
            relax_pipeline=lower_relax({}),
            tir_pipeline=PIPELINE,
        )
    return export_cuda_library(executable, parse_architectures(architectures))[0]
