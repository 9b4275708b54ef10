# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Kernels of control flow and memory, written as scripts."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

COUNT = 64
THREADS = 8


def reinterpreting(source: str, lanes: int, to: str, to_lanes: int) -> Any:
    """Return (input, output): COUNT vectors reinterpreted."""
    wide = to if to_lanes == 1 else f"{to}x{to_lanes}"

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT * lanes,), source), o: T.Buffer((COUNT * to_lanes,), to)):
        for thread in T.thread_binding(COUNT, thread="threadIdx.x"):
            if to_lanes == 1 and lanes == 1:
                o[thread] = T.reinterpret(a[thread], dtype=wide)
            elif to_lanes == 1:
                o[thread] = T.reinterpret(a[T.ramp(thread * lanes, 1, lanes)], dtype=wide)
            elif lanes == 1:
                o[T.ramp(thread * to_lanes, 1, to_lanes)] = T.reinterpret(a[thread], dtype=wide)
            else:
                o[T.ramp(thread * to_lanes, 1, to_lanes)] = T.reinterpret(
                    a[T.ramp(thread * lanes, 1, lanes)], dtype=wide
                )

    return func


@T.prim_func(s_tir=True)
def row_sums(pa: T.handle, po: T.handle):
    """Sum rows of a matrix of any shape."""
    m, n = T.int32(), T.int32()
    a = T.match_buffer(pa, (m, n), "float32")
    o = T.match_buffer(po, (m,), "float32")
    for row in T.thread_binding(m, thread="blockIdx.x"):
        for _thread in T.thread_binding(1, thread="threadIdx.x"):
            total = T.alloc_buffer((1,), "float32", scope="local")
            total[0] = T.float32(0)
            for i in T.serial(n):
                total[0] = total[0] + a[row, i]
            o[row] = total[0]


@T.prim_func(s_tir=True)
def collatz(a: T.Buffer((COUNT,), "int32"), o: T.Buffer((COUNT,), "int32")):
    """Count steps to 1."""
    for i in T.thread_binding(COUNT, thread="threadIdx.x"):
        x = T.alloc_buffer((1,), "int32", scope="local")
        steps = T.alloc_buffer((1,), "int32", scope="local")
        x[0] = a[i]
        steps[0] = 0
        while x[0] != 1:
            if x[0] % 2 == 0:
                x[0] = x[0] // 2
            else:
                x[0] = 3 * x[0] + 1
            steps[0] = steps[0] + 1
        o[i] = steps[0]


@T.prim_func(s_tir=True)
def nested(a: T.Buffer((COUNT,), "int32"), o: T.Buffer((COUNT,), "int32")):
    """Loops in a condition in a loop; bounds depend on data, some loops run no time."""
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        s = T.alloc_buffer((1,), "int32", scope="local")
        s[0] = 0
        for i in T.serial(a[t] - 2):
            if i % 3 == 1:
                for j in T.serial(i):
                    if j > 2:
                        s[0] = s[0] + j * i
                    else:
                        s[0] = s[0] - 1
            else:
                if i % 3 == 2:
                    s[0] = s[0] + 100
        o[t] = s[0]


@T.prim_func(s_tir=True)
def early_exits(a: T.Buffer((COUNT,), "int32"), o: T.Buffer((COUNT,), "int32")):
    """Sum odd numbers below a[t], none above 20."""
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        s = T.alloc_buffer((1,), "int32", scope="local")
        s[0] = 0
        for i in range(1000):
            if i >= a[t]:
                break
            if i % 2 == 0:
                continue
            if i > 20:
                break
            s[0] = s[0] + i
        o[t] = s[0]


def guarded(lazy: str) -> Any:
    """Return (input of half the elements, output): what lies beyond it must not be read."""

    @T.prim_func(s_tir=True)
    def func(pa: T.handle, o: T.Buffer((COUNT,), "float32")):
        n = T.int32()
        a = T.match_buffer(pa, (n,), "float32")
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            far = T.meta_var(T.Select(t < n, t, t + (1 << 30)))
            if lazy == "if_then_else":
                o[t] = T.if_then_else(t < n, a[far] * T.float32(2), T.float32(-1))
            elif lazy == "nested":
                o[t] = T.if_then_else(
                    t < n,
                    T.if_then_else(a[far] > T.float32(0), a[far], -a[far]) + T.float32(1),
                    T.float32(-1),
                )
            elif lazy == "and":
                o[t] = T.float32(-1)
                if t < n and a[far] > T.float32(0):
                    o[t] = T.float32(5)
            else:
                o[t] = T.float32(-1)
                if t >= n or a[far] > T.float32(0):
                    o[t] = T.float32(5)

    return func


def local_table(dtype: str) -> Any:
    """Return (input, indices, output): a thread's array indexed by data."""

    @T.prim_func(s_tir=True)
    def func(
        a: T.Buffer((COUNT,), dtype), at: T.Buffer((COUNT,), "int32"), o: T.Buffer((COUNT,), dtype)
    ):
        for t in T.thread_binding(COUNT // 8, thread="threadIdx.x"):
            table = T.alloc_buffer((8,), dtype, scope="local")
            for i in T.serial(8):
                table[i] = a[t * 8 + i]
            for i in T.serial(8):
                o[t * 8 + i] = table[at[t * 8 + i] % 8]

    return func


def shared_transpose(dtype: str, lanes: int) -> Any:
    """Return (input, output): an 8 x 8 matrix turned through two shared buffers."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), dtype), o: T.Buffer((COUNT,), dtype)):
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for t in T.thread_binding(8, thread="threadIdx.x"):
                rows = T.alloc_buffer((COUNT,), dtype, scope="shared")
                turned = T.alloc_buffer((COUNT,), dtype, scope="shared")
                for i in T.serial(8 // lanes):
                    for lane in T.vectorized(lanes):
                        rows[t * 8 + i * lanes + lane] = a[t * 8 + i * lanes + lane]
                T.evaluate(T.tvm_storage_sync("shared"))
                for i in T.serial(8):
                    turned[t * 8 + i] = rows[i * 8 + t]
                T.evaluate(T.tvm_storage_sync("shared"))
                for i in T.serial(8 // lanes):
                    for lane in T.vectorized(lanes):
                        o[t * 8 + i * lanes + lane] = turned[t * 8 + i * lanes + lane]

    return func


def strided(dtype: str, lanes: int, stride: int, first: int) -> Any:
    """Return (input, output): vectors of strided and unaligned elements, stored reversed."""
    size = COUNT * 8 + 16

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((size,), dtype), o: T.Buffer((size,), dtype)):
        for t in T.thread_binding(8, thread="threadIdx.x"):
            o[T.ramp(t * lanes + first + lanes - 1, -1, lanes)] = a[
                T.ramp(t * lanes * stride + first, stride, lanes)
            ]

    return func


def shuffled() -> Any:
    """Return (input, output): lanes of two vectors in a new order, and one of all in all."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), "float32"), o: T.Buffer((COUNT,), "float32")):
        for t in T.thread_binding(8, thread="threadIdx.x"):
            o[T.ramp(t * 8, 1, 5)] = T.Shuffle(
                [a[T.ramp(t * 8, 1, 3)], a[T.ramp(t * 8 + 3, 1, 5)]], [7, 0, 4, 2, 3]
            )
            o[T.ramp(t * 8 + 5, 1, 3)] = T.Broadcast(a[t * 8 + 1], 3)

    return func


@T.prim_func(s_tir=True)
def sums_kept(
    a: T.Buffer((COUNT,), "float32"),
    b: T.Buffer((COUNT,), "float32"),
    o: T.Buffer((2 * COUNT,), "float32"),
):
    """Sums whose terms cancel only for somebody who does not round."""
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        # In memory, so that TVM does not cancel them.
        sums = T.alloc_buffer((2,), "float32", scope="local")
        sums[0] = a[t] + b[t]
        sums[1] = a[t] + T.float32(12582912)
        o[t] = sums[0] - a[t]
        o[COUNT + t] = sums[1] - T.float32(12582912)


def merged_shared(small: str) -> Any:
    """Return (input, output): a matrix turned, by way of dynamic shared memory of two types."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), "float32"), o: T.Buffer((COUNT,), "float32")):
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for t in T.thread_binding(8, thread="threadIdx.x"):
                rows = T.alloc_buffer((COUNT,), "float32", scope="shared.dyn")
                turned = T.alloc_buffer((COUNT,), small, scope="shared.dyn")
                for i in T.serial(8):
                    rows[t * 8 + i] = a[t * 8 + i]
                for i in T.serial(8):
                    turned[i * 8 + t] = T.Cast(small, T.Cast("int32", rows[t * 8 + i]))
                for i in T.serial(8):
                    o[t * 8 + i] = T.Cast("float32", turned[t * 8 + i])

    return func


def vector_buffers() -> Any:
    """Return (input, output): vectors as elements of buffers, a thread's own among them."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT, 4), "float32"), o: T.Buffer((COUNT, 4), "float32")):
        for t in T.thread_binding(COUNT // 2, thread="threadIdx.x"):
            mine = T.alloc_buffer((2,), "float32x4", scope="local")
            for i in T.serial(2):
                mine[i] = a[t * 2 + i, T.ramp(0, 1, 4)]
            for i in T.serial(2):
                o[t * 2 + i, T.ramp(0, 1, 4)] = mine[1 - i] * T.Broadcast(T.float32(2), 4)

    return func
