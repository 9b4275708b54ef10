# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Operations between the workgroups of a kernel, as AMD's instructions."""

from __future__ import annotations

import pytest
import rocm_kernels
import tvm
from tvm.script import tirx as T

from ferrylm.compile.rocm.architectures import ARCHITECTURES

THREADS = 128  # two waves, or a barrier would be none
NAMES = ("gfx906", "gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1201")


@T.prim_func(s_tir=True)
def last_adds(
    parts: T.Buffer((8 * THREADS,), "int32"),
    counter: T.Buffer((1,), "int32"),
    total: T.Buffer((THREADS,), "int32"),
):
    T.func_attr({"global_symbol": "last_adds", "tirx.noalias": True})
    for block in T.thread_binding(8, thread="blockIdx.x"):
        for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
            before = T.alloc_buffer((1,), "int32", scope="shared")
            parts[block * THREADS + thread] = block + thread
            T.evaluate(T.call_extern("int32", "ferrylm.device_release"))
            T.tvm_storage_sync("shared")
            if thread == 0:
                before[0] = T.call_extern(
                    "int32", "ferrylm.device_count", T.address_of(counter[0]), 1
                )
            T.tvm_storage_sync("shared")
            if before[0] == 7:
                T.evaluate(T.call_extern("int32", "ferrylm.device_acquire"))
                total[thread] = parts[thread] + parts[7 * THREADS + thread]


@pytest.fixture(scope="module")
def assembly() -> dict[str, str]:
    """Return the compiler's assembly of the kernel for each architecture."""
    chosen = [ARCHITECTURES[name] for name in NAMES]
    built = rocm_kernels.build(tvm.IRModule({"last_adds": last_adds}), chosen)
    return {name: built.code_objects[name].assembly for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_count_comes_after_the_writes_and_before_the_reads_of_other_workgroups(
    assembly: dict[str, str], name: str
) -> None:
    lines = [line.strip() for line in assembly[name].splitlines()]
    store = next(i for i, line in enumerate(lines) if line.startswith("global_store"))
    count = next(i for i, line in enumerate(lines) if line.startswith("global_atomic_add"))
    read = next(i for i, line in enumerate(lines) if i > count and line.startswith("global_load"))
    released, acquired = lines[store:count], lines[count:read]
    # Every wave waits for its own writes before the barrier that the counting thread waits at.
    barrier = next(i for i, line in enumerate(released) if line.startswith("s_barrier"))
    waits = ("s_waitcnt vmcnt(0)", "s_waitcnt_vscnt", "s_wait_storecnt")
    assert any(line.startswith(waits) or "vmcnt(0)" in line for line in released[:barrier]), lines
    # Caches that other compute units' writes do not reach are emptied.
    emptied = ("buffer_wbinvl1", "buffer_inv", "buffer_gl0_inv", "global_inv")
    assert any(line.startswith(emptied) for line in acquired), acquired
