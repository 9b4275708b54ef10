# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Small thread-bound kernels that use what the GPU schedules use, compiled for AMD GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm.script import ir as I
from tvm.script import tirx as T

from ferrylm.compile import gpu_pipeline
from ferrylm.compile.rocm.architectures import Architecture, architectures
from ferrylm.compile.rocm.build_hook import ahead_of_time, collecting
from ferrylm.compile.rocm.bundle import write_bundle
from ferrylm.compile.rocm.code_object import CodeObject, quiet, rocm_target


def increment_module() -> Any:
    """Return a kernel that adds one to every element; its count is known at run time only."""

    @I.ir_module
    class Module:
        @T.prim_func
        def increment(data: T.handle, count: T.int32):
            T.func_attr({"global_symbol": "increment", "tirx.noalias": True})
            values = T.match_buffer(data, (count,), "float32")
            block = T.launch_thread("blockIdx.x", (count + 63) // 64)
            thread = T.launch_thread("threadIdx.x", 64)
            if block * 64 + thread < count:
                values[block * 64 + thread] = values[block * 64 + thread] + T.float32(1)

    return Module


def everything_module() -> Any:
    """Return kernels with shared memory, lanes, halves, dot products and mathematics."""

    @I.ir_module
    class Module:
        @T.prim_func
        def soft_row(
            scores: T.Buffer((64, 256), "float32"),
            halves: T.Buffer((64, 256), "float16"),
            result: T.Buffer((64, 256), "float16"),
        ):
            T.func_attr({"global_symbol": "soft_row", "tirx.noalias": True})
            row = T.launch_thread("blockIdx.x", 64)
            thread = T.launch_thread("threadIdx.x", 256)
            shared = T.alloc_buffer((256,), "float32", scope="shared")
            shared[thread] = T.exp(scores[row, thread] - T.float32(3))
            T.tvm_storage_sync("shared")
            total = T.meta_var(
                T.call_pure_extern("float32", "ferrylm.subgroup_add", shared[255 - thread])
            )
            wave = T.meta_var(T.call_pure_extern("int32", "ferrylm.subgroup_id"))
            lane = T.meta_var(T.call_pure_extern("int32", "ferrylm.subgroup_lane"))
            largest = T.meta_var(
                T.call_pure_extern(
                    "float16", "ferrylm.subgroup_max_clustered", halves[row, thread], 8
                )
            )
            other = T.meta_var(
                T.call_pure_extern(
                    "float32", "ferrylm.subgroup_shuffle_xor", scores[row, thread], 5
                )
            )
            result[row, thread] = (
                T.Cast("float16", shared[thread] / total + other)
                + largest
                + T.Cast("float16", wave + lane)
            )

        @T.prim_func
        def dots(
            a: T.Buffer((4096,), "int32"),
            b: T.Buffer((4096,), "int32"),
            sums: T.Buffer((4096,), "int32"),
        ):
            T.func_attr({"global_symbol": "dots", "tirx.noalias": True})
            block = T.launch_thread("blockIdx.x", 32)
            thread = T.launch_thread("threadIdx.x", 128)
            at = T.meta_var(block * 128 + thread)
            sums[at] = T.call_pure_extern(
                "int32",
                "ferrylm.dot4_u8_i8",
                a[at],
                b[at],
                T.call_pure_extern("int32", "ferrylm.dot4_i8", a[at], b[at], sums[at]),
            )

        @T.prim_func
        def mathematics(
            x: T.Buffer((4096,), "float32"), y: T.Buffer((4096,), "float32"), bias: T.float32
        ):
            T.func_attr({"global_symbol": "mathematics", "tirx.noalias": True})
            block = T.launch_thread("blockIdx.x", 32)
            thread = T.launch_thread("threadIdx.x", 128)
            at = T.meta_var(block * 128 + thread)
            y[at] = (
                T.sin(x[at])
                + T.cos(x[at])
                + T.pow(T.fabs(x[at]), bias)
                + T.tanh(x[at])
                + T.sqrt(T.fabs(x[at]))
                + T.rsqrt(T.fabs(x[at]) + T.float32(1))
                + T.log(T.fabs(x[at]) + T.float32(1))
                + T.erf(x[at])
                + T.call_pure_extern("float32", "ferrylm.fma", x[at], x[at], bias)
            )

    return Module


@dataclass(frozen=True)
class BuiltKernels:
    """A library for export, and the code objects in it."""

    library: Any
    code_objects: Mapping[str, CodeObject]

    @property
    def bundle(self) -> bytes:
        """Return the HIP bundle."""
        return write_bundle({name: built.code for name, built in self.code_objects.items()})

    def export(self, path: Path) -> None:
        """Write the shared library."""
        self.library.export_library(str(path))


def build(module: Any, archs: Sequence[Architecture] | None = None) -> BuiltKernels:
    """Compile for the architectures, by default the default ones."""
    chosen = tuple(archs) if archs is not None else architectures()
    target = tvm.target.Target(rocm_target(chosen[0]), host="llvm")
    with ahead_of_time(chosen) as built, quiet():
        library = tvm.compile(module, target=target, tir_pipeline=gpu_pipeline.PIPELINE)
    assert built.code_objects is not None
    return BuiltKernels(library, built.code_objects)


def lowered(module: Any, arch: Architecture) -> Any:
    """Return the lowered device functions of a module."""
    target = tvm.target.Target(rocm_target(arch), host="llvm")
    with collecting() as collected, quiet():
        tvm.compile(module, target=target, tir_pipeline=gpu_pipeline.PIPELINE)
    return collected.kernels
