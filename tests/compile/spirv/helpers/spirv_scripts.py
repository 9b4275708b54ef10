# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Kernels of control flow, memory and threads, written as scripts."""

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


def atomic(dtype: str, operation: str) -> Any:
    """Return (input, output): sums of every fourth element."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), dtype), o: T.Buffer((4,), dtype)):
        for b in T.thread_binding(8, thread="blockIdx.x"):
            for t in T.thread_binding(8, thread="threadIdx.x"):
                T.evaluate(
                    T.call_extern(dtype, operation, T.address_of(o[(b * 8 + t) % 4]), a[b * 8 + t])
                )

    return func


@T.prim_func(s_tir=True)
def shared_atomic(a: T.Buffer((COUNT,), "int32"), o: T.Buffer((4,), "int32")):
    """Sums of every fourth element, made in shared memory."""
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        sums = T.alloc_buffer((4,), "int32", scope="shared")
        if t < 4:
            sums[t] = 0
        T.evaluate(T.tvm_storage_sync("shared"))
        T.evaluate(T.call_extern("int32", "ferrylm.atomic_add", T.address_of(sums[t % 4]), a[t]))
        T.evaluate(T.tvm_storage_sync("shared"))
        if t < 4:
            o[t] = sums[t]


def subgroup(name: str, dtype: str, *more: int) -> Any:
    """Return (input, output): an operation of a subgroup of 8 lanes on every element."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), dtype), o: T.Buffer((COUNT,), dtype)):
        T.func_attr({"ferrylm.subgroup_size": 8})
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            o[t] = T.call_pure_extern(dtype, name, a[t], *more)

    return func


def warp_shuffle(build: Any) -> Any:
    """Return (input, output): an exchange with mask, width and size as TVM has them."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), "float32"), o: T.Buffer((COUNT,), "float32")):
        T.func_attr({"ferrylm.subgroup_size": 8})
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            o[t] = build(a[t], t)

    return func


@T.prim_func(s_tir=True)
def lanes_and_subgroups(o: T.Buffer((2 * COUNT,), "int32")):
    """Write the lane and the subgroup of every thread."""
    T.func_attr({"ferrylm.subgroup_size": 8})
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        o[t] = T.call_pure_extern("int32", "ferrylm.subgroup_lane")
        o[COUNT + t] = T.call_pure_extern("int32", "ferrylm.subgroup_id")


def dot4(name: str) -> Any:
    """Return (words, words, sums, output)."""

    @T.prim_func(s_tir=True)
    def func(
        a: T.Buffer((COUNT,), "uint32"),
        b: T.Buffer((COUNT,), "int32"),
        c: T.Buffer((COUNT,), "int32"),
        o: T.Buffer((COUNT,), "int32"),
    ):
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            o[t] = T.call_pure_extern("int32", name, a[t], b[t], c[t])

    return func


@T.prim_func(s_tir=True)
def dp4a(
    a: T.Buffer((4 * COUNT,), "int8"),
    b: T.Buffer((4 * COUNT,), "int8"),
    o: T.Buffer((COUNT,), "int32"),
):
    """TVM's own dot product of bytes."""
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        o[t] = T.dp4a(a[T.ramp(t * 4, 1, 4)], b[T.ramp(t * 4, 1, 4)], T.int32(7))


@T.prim_func(s_tir=True)
def unpack_half2(a: T.Buffer((COUNT,), "uint32"), o: T.Buffer((2 * COUNT,), "float32")):
    """Two halves of a word as floats."""
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        o[T.ramp(t * 2, 1, 2)] = T.call_pure_extern("float32x2", "ferrylm.unpack_half2", a[t])


@T.prim_func(s_tir=True)
def grid(o: T.Buffer((3 * 4 * 5 * 2 * 3 * 2,), "int32")):
    """Number every thread of a grid of three dimensions."""
    for bz in T.thread_binding(5, thread="blockIdx.z"):
        for by in T.thread_binding(4, thread="blockIdx.y"):
            for bx in T.thread_binding(3, thread="blockIdx.x"):
                for tz in T.thread_binding(2, thread="threadIdx.z"):
                    for ty in T.thread_binding(3, thread="threadIdx.y"):
                        for tx in T.thread_binding(2, thread="threadIdx.x"):
                            o[((((bz * 4 + by) * 3 + bx) * 2 + tz) * 3 + ty) * 2 + tx] = (
                                bz * 100000 + by * 10000 + bx * 1000 + tz * 100 + ty * 10 + tx
                            )


@T.prim_func(s_tir=True)
def scalars(
    i8: T.int8, i16: T.int16, i32: T.int32, i64: T.int64, u8: T.uint8, u32: T.uint32,
    truth: T.bool, f16: T.float16, f32: T.float32, f64: T.float64, po: T.handle,
):  # fmt: skip
    """Write scalar arguments of every type as doubles."""
    o = T.match_buffer(po, (10,), "float64")
    for t in T.thread_binding(1, thread="threadIdx.x"):
        o[t] = T.Cast("float64", i8)
        o[t + 1] = T.Cast("float64", i16)
        o[t + 2] = T.Cast("float64", i32)
        o[t + 3] = T.Cast("float64", i64)
        o[t + 4] = T.Cast("float64", u8)
        o[t + 5] = T.Cast("float64", u32)
        o[t + 6] = T.Cast("float64", truth)
        o[t + 7] = T.Cast("float64", f16)
        o[t + 8] = T.Cast("float64", f32)
        o[t + 9] = f64


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


def cooperative_product(dtype: str, result: str, shared: bool) -> Any:
    """Return (a, b, c): c = a @ b by tiles of 16 x 16, the left one by way of shared memory."""
    zero = 0 if result == "int32" else 0.0

    @T.prim_func(s_tir=True)
    def func(
        a: T.Buffer((32 * 64,), dtype),
        b: T.Buffer((64 * 32,), dtype),
        c: T.Buffer((32 * 32,), result),
    ):
        T.func_attr({"ferrylm.subgroup_size": 32})
        for row in T.thread_binding(2, thread="blockIdx.y"):
            for column in T.thread_binding(2, thread="blockIdx.x"):
                for t in T.thread_binding(32, thread="threadIdx.x"):
                    tile_a = T.alloc_buffer((1,), dtype, scope="local")
                    tile_b = T.alloc_buffer((1,), dtype, scope="local")
                    tile_c = T.alloc_buffer((1,), result, scope="local")
                    staged = T.alloc_buffer((256,), dtype, scope="shared")
                    left = T.meta_var(T.address_of(tile_a[0]))
                    right = T.meta_var(T.address_of(tile_b[0]))
                    sums = T.meta_var(T.address_of(tile_c[0]))
                    T.evaluate(
                        T.call_extern(
                            "int32", "ferrylm.coopmat_fill", sums, 2, result, 16, 16,
                            T.Cast(result, zero),
                        )
                    )  # fmt: skip
                    for k in T.serial(4):
                        if shared:
                            for i in T.serial(8):
                                staged[i * 32 + t] = a[
                                    (row * 16 + (i * 32 + t) // 16) * 64 + k * 16 + t % 16
                                ]
                            T.evaluate(T.tvm_storage_sync("shared"))
                            T.evaluate(
                                T.call_extern(
                                    "int32", "ferrylm.coopmat_load", left, 0, dtype, 16, 16,
                                    T.address_of(staged[0]), 16, 0,
                                )
                            )  # fmt: skip
                        else:
                            T.evaluate(
                                T.call_extern(
                                    "int32", "ferrylm.coopmat_load", left, 0, dtype, 16, 16,
                                    T.address_of(a[row * 1024 + k * 16]), 64, 0,
                                )
                            )  # fmt: skip
                        T.evaluate(
                            T.call_extern(
                                "int32", "ferrylm.coopmat_load", right, 1, dtype, 16, 16,
                                T.address_of(b[k * 512 + column * 16]), 32, 0,
                            )
                        )  # fmt: skip
                        T.evaluate(
                            T.call_extern(
                                "int32", "ferrylm.coopmat_mul_add", sums, left, right, sums
                            )
                        )
                    T.evaluate(
                        T.call_extern(
                            "int32", "ferrylm.coopmat_store", sums,
                            T.address_of(c[row * 512 + column * 16]), 32, 0,
                        )
                    )  # fmt: skip

    return func


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


def synchronizing(scope: str) -> Any:
    """Return (output), written after a barrier."""

    @T.prim_func(s_tir=True)
    def func(o: T.Buffer((COUNT,), "int32")):
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            T.evaluate(T.tvm_storage_sync(scope))
            o[t] = t

    return func


@T.prim_func(s_tir=True)
def asserting(o: T.Buffer((COUNT,), "int32")):
    """Check something in a kernel, where nobody could report it."""
    for t in T.thread_binding(COUNT, thread="threadIdx.x"):
        assert o[t] < 7, "too large"
        o[t] = t


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


def by_number(number: int) -> Any:
    """Return (input, output): an extended instruction that is named by its number."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), "float32"), o: T.Buffer((COUNT,), "float32")):
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            o[t] = T.call_intrin("float32", "tirx.call_spirv_pure_glsl450", T.uint32(number), a[t])

    return func
