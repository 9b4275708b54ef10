# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Atomic additions to shared memory: one instruction of the chip, which returns what was there."""

from __future__ import annotations

from typing import Any

import pytest
import rocm_kernels
import tvm
from tvm.script import tirx as T

from ferrylm.compile.rocm.architectures import architectures
from ferrylm.schedules.gpu.atomics import atomic_add


def counting(dtype: str) -> Any:
    """Return a kernel whose threads count in shared memory; each notes what it found."""

    @T.prim_func(s_tir=True)
    def func(found: T.Buffer((64,), dtype)):
        T.func_attr({"global_symbol": "count", "tirx.noalias": True})
        for thread in T.thread_binding(64, thread="threadIdx.x"):
            counts = T.alloc_buffer((4,), dtype, scope="shared")
            if thread < 4:
                counts[thread] = T.Cast(dtype, 0)
            T.tvm_storage_sync("shared")
            found[thread] = atomic_add(counts[thread % 4], T.Cast(dtype, 1))

    return tvm.IRModule({"count": func})


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
@pytest.mark.parametrize("chip", ["gfx1030", "gfx90a"])
def test_an_addition_to_shared_memory_is_one_instruction(dtype: str, chip: str) -> None:
    arch = next(arch for arch in architectures() if arch.name == chip)
    built = rocm_kernels.build(counting(dtype), [arch])
    assembly = built.code_objects[chip].assembly
    assert assembly.count("ds_add_rtn_u32") == 1
