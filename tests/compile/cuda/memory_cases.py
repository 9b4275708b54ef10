# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Kernels for the operations on memory, each with inputs a, b, c and an output of 64 threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from ferrylm.compile.cuda.launch_order import DEPENDENT_LAUNCH
from tests.compile.cuda.operation_cases import THREADS, call

Array = np.ndarray


def effect(name: str, *arguments: Any, dtype: str = "int32") -> Any:
    """Return a call that does more than return a value."""
    return T.call_extern(dtype, "ferrylm." + name, *arguments)


@dataclass(frozen=True)
class MemoryCase:
    """A kernel (a uint32x4, unused, unused, output); see OperationCase."""

    name: str
    output: tuple[str, int]
    make: Callable[[], Any]
    reference: Callable[..., Array]
    instruction: str
    operations: frozenset[str]
    tolerance: float = 0.0

    def kernel(self) -> Any:
        """Return the PrimFunc."""
        return self.make().with_attr("global_symbol", self.symbol)

    @property
    def symbol(self) -> str:
        """Return the function's name."""
        return "check_" + self.name

    def arrays(self) -> list[Array]:
        """Return the inputs."""
        words = np.arange(THREADS * 4, dtype=np.uint32) * np.uint32(2654435761)
        rest = np.zeros((THREADS, 1), np.uint32)
        return [words.reshape(THREADS, 4), rest, rest]


def dependent_copy(name: str, *, wait: bool = False) -> Any:
    """Return a kernel that copies its first input, and waits for the kernel before or not."""
    tags = [DEPENDENT_LAUNCH] if wait else []

    @T.prim_func(s_tir=True)
    def func(pa: T.handle, pb: T.handle, pc: T.handle, po: T.handle):
        T.func_attr({"tirx.kernel_launch_params": tags})
        a = T.match_buffer(pa, (THREADS * 4,), "uint32")
        b = T.match_buffer(pb, (THREADS,), "uint32")
        c = T.match_buffer(pc, (THREADS,), "uint32")
        out = T.match_buffer(po, (THREADS * 4,), "uint32")
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                if T.bool(wait):
                    T.evaluate(effect("prefetch_l2", T.address_of(b[thread])))
                    T.evaluate(effect("grid_dependency_wait"))
                for i in range(4):
                    out[thread * 4 + i] = a[thread * 4 + i] + b[thread] + c[thread]
                if T.bool(wait):
                    T.evaluate(effect("launch_dependents"))

    return func.with_attr("global_symbol", name)


def _stream(operation: str) -> Any:
    @T.prim_func(s_tir=True)
    def func(pa: T.handle, pb: T.handle, pc: T.handle, po: T.handle):
        a = T.match_buffer(pa, (THREADS * 4,), "uint32")
        b = T.match_buffer(pb, (THREADS,), "uint32")
        c = T.match_buffer(pc, (THREADS,), "uint32")
        out = T.match_buffer(po, (THREADS * 4,), "uint32")
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                out[T.ramp(thread * 4, 1, 4)] = call(operation, "uint32x4", a.data, thread)
                out[thread * 4] = out[thread * 4] + b[thread] + c[thread]

    return func


def _matrix_rows(load: str) -> Any:
    @T.prim_func(s_tir=True)
    def func(pa: T.handle, pb: T.handle, pc: T.handle, po: T.handle):
        a = T.match_buffer(pa, (THREADS * 4,), "uint32")
        b = T.match_buffer(pb, (THREADS,), "uint32")
        c = T.match_buffer(pc, (THREADS,), "uint32")
        out = T.match_buffer(po, (THREADS * 4,), "uint32")
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                rows = T.alloc_buffer((THREADS * 4,), "uint32", scope="shared")
                T.evaluate(
                    effect(
                        "copy_async_u32x4",
                        T.address_of(rows[thread * 4]),
                        T.address_of(a[thread * 4]),
                    )
                )
                T.evaluate(effect("copy_async_commit"))
                T.evaluate(effect("copy_async_wait", 0))
                T.tvm_storage_sync("warp")
                out[T.ramp(thread * 4, 1, 4)] = effect(
                    load, T.address_of(rows[thread * 4]), dtype="uint32x4"
                )
                out[thread * 4] = out[thread * 4] + b[thread] + c[thread]

    return func


TILE_WORDS = 512  # of a ring's tile: 8 steps, 2 sides, 8 rows of 4 words
STAGES = 2


class TileCase(MemoryCase):
    """A kernel whose first input is a tile of 8 rows of halves, small whole numbers."""

    def arrays(self) -> list[Array]:
        """Return the inputs."""
        _, *rest = super().arrays()
        halves = np.arange(2 * TILE_WORDS) * 7 % 31 - 15
        words = halves.astype(np.float16).view(np.uint32)
        return [words.reshape(THREADS, TILE_WORDS // THREADS), *rest]


def _tiles() -> Any:
    # Weights of 1: a result is the sum of a row of activations over the last four steps.
    @T.prim_func(s_tir=True)
    def func(pa: T.handle, pb: T.handle, pc: T.handle, po: T.handle):
        a = T.match_buffer(pa, (TILE_WORDS,), "uint32")
        b = T.match_buffer(pb, (THREADS,), "uint32")
        c = T.match_buffer(pc, (THREADS,), "uint32")
        out = T.match_buffer(po, (THREADS * 4,), "float32")
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                ring = T.alloc_buffer((STAGES * TILE_WORDS,), "uint32", scope="shared.dyn")
                barriers = T.alloc_buffer((2 * STAGES,), "uint64", scope="shared")
                sums = T.alloc_buffer((4,), "float32", scope="local")
                weights = T.alloc_buffer((8,), "uint32", scope="local")
                for i in T.unroll(4):
                    sums[i] = T.cast(b[thread] + c[thread], "float32")
                for i in T.unroll(8):
                    weights[i] = T.uint32(0x3C003C00)
                at = T.meta_var(T.address_of(barriers[0]))
                T.evaluate(effect("ring_begin", at, STAGES))
                T.evaluate(
                    effect(
                        "ring_load", at, T.address_of(ring[0]), T.address_of(a[0]),
                        1, 0, T.bool(True), STAGES, 1,
                    )
                )  # fmt: skip
                T.evaluate(effect("copy_async_wait", 0))
                T.evaluate(effect("ring_wait", at, 0, STAGES))
                for pair in T.unroll(2, 4):
                    T.evaluate(
                        effect(
                            "multiply_tiles", T.address_of(sums[0]), T.address_of(weights[0]),
                            T.address_of(ring[pair * TILE_WORDS // 4]), 1,
                        )
                    )  # fmt: skip
                    T.evaluate(effect("multiply_wait"))
                T.evaluate(effect("multiply_end", T.address_of(sums[0]), 1))
                T.evaluate(effect("ring_release", at, 0, STAGES))
                for i in T.unroll(4):
                    out[thread * 4 + i] = sums[i]

    return func


def _tiles_reference(a: Array, *_: Array) -> Array:
    halves = np.ascontiguousarray(a).view(np.float16).reshape(8, 2, 8, 8)  # step, side, row
    rows = halves[4:].astype(np.float64).sum(axis=(0, 1, 3))
    thread, i = np.arange(THREADS)[:, None], np.arange(4)[None]
    return rows[thread % 4 * 2 + i % 2].astype(np.float32)


def _atomic() -> Any:
    @T.prim_func(s_tir=True)
    def func(pa: T.handle, pb: T.handle, pc: T.handle, po: T.handle):
        a = T.match_buffer(pa, (THREADS * 4,), "uint32")
        b = T.match_buffer(pb, (THREADS,), "uint32")
        c = T.match_buffer(pc, (THREADS,), "uint32")
        out = T.match_buffer(po, (THREADS,), "uint32")
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                T.evaluate(
                    effect(
                        "atomic_add",
                        T.address_of(out[thread % 7]),
                        a[thread * 4] + b[thread] + c[thread],
                        dtype="uint32",
                    )
                )

    return func


def _count() -> Any:
    @T.prim_func(s_tir=True)
    def func(pa: T.handle, pb: T.handle, pc: T.handle, po: T.handle):
        a = T.match_buffer(pa, (THREADS * 4,), "uint32")
        b = T.match_buffer(pb, (THREADS,), "uint32")
        c = T.match_buffer(pc, (THREADS,), "uint32")
        out = T.match_buffer(po, (THREADS,), "int32")
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(THREADS, thread="threadIdx.x"):
                T.evaluate(effect("device_release"))
                T.tvm_storage_sync("shared")
                if thread == 0:
                    T.evaluate(
                        effect(
                            "device_count",
                            T.address_of(out[0]),
                            T.cast(a[4] + b[thread] + c[thread], "int32"),
                        )
                    )
                T.tvm_storage_sync("shared")
                T.evaluate(effect("device_acquire"))
                if thread > 0:
                    out[thread] = out[0]

    return func


def _count_reference(a: Array, *_: Array) -> Array:
    return np.full((THREADS, 1), a[1, 0].astype(np.int32))


def _matrix_rows_reference(a: Array, *_: Array) -> Array:
    lane = np.arange(32)
    warps = [
        np.stack([warp[8 * matrix + lane // 4, lane % 4] for matrix in range(4)], axis=1)
        for warp in a.reshape(-1, 32, 4)
    ]
    return np.concatenate(warps)


def _transposed_reference(a: Array, *_: Array) -> Array:
    lane = np.arange(32)
    halves = np.ascontiguousarray(a).view(np.uint16).reshape(-1, 4, 8, 8)  # warp, matrix, row
    found = np.stack(
        [halves[:, :, lane % 4 * 2 + row, lane // 4] for row in range(2)], axis=-1
    )  # warp, matrix, lane, row
    words = np.ascontiguousarray(found.transpose(0, 2, 1, 3)).view(np.uint32)
    return words.reshape(-1, 4)


def _atomic_reference(a: Array, *_: Array) -> Array:
    out = np.zeros((THREADS, 1), np.uint32)
    np.add.at(out[:, 0], np.arange(THREADS) % 7, a[:, 0])
    return out


WORDS = ("uint32", 4)
MEMORY_CASES = (
    MemoryCase("load_stream", WORDS, lambda: _stream("load_stream_u32x4"),
               lambda a, *_: a, "LDG", frozenset({"load_stream_u32x4"})),
    MemoryCase("load_evict_first", WORDS, lambda: _stream("load_evict_first_u32x4"),
               lambda a, *_: a, "LDG", frozenset({"load_evict_first_u32x4"})),
    MemoryCase("dependent_launch", WORDS, lambda: dependent_copy("dependent", wait=True),
               lambda a, *_: a, "ACQBULK",
               frozenset({"grid_dependency_wait", "launch_dependents", "prefetch_l2"})),
    MemoryCase("matrix_rows", WORDS, lambda: _matrix_rows("load_matrix_x4"),
               _matrix_rows_reference, "LDSM",
               frozenset({"copy_async_u32x4", "copy_async_commit", "copy_async_wait",
                          "subgroup_barrier", "load_matrix_x4"})),
    MemoryCase("matrix_columns", WORDS, lambda: _matrix_rows("load_matrix_x4_transposed"),
               _transposed_reference, "LDSM", frozenset({"load_matrix_x4_transposed"})),
    TileCase("tiles", ("float32", 4), _tiles, _tiles_reference, "HMMA",
             frozenset({"ring_begin", "ring_load", "ring_wait", "ring_release",
                        "multiply_tiles", "multiply_wait", "multiply_end"})),
    MemoryCase("device_count", ("int32", 1), _count, _count_reference, "MEMBAR",
               frozenset({"device_release", "device_count", "device_acquire"})),
    MemoryCase("atomic_add", ("uint32", 1), _atomic, _atomic_reference, "REDG",
               frozenset({"atomic_add"})),
)  # fmt: skip
