# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Kernels of threads, subgroups, atomics and arguments, written as scripts."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

COUNT = 64


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


WORKGROUPS = 37


@T.prim_func(s_tir=True)
def last_workgroup_sums(
    a: T.Buffer((WORKGROUPS * COUNT,), "int32"),
    counter: T.Buffer((1,), "int32"),
    doubled: T.Buffer((WORKGROUPS * COUNT,), "int32"),
    o: T.Buffer((COUNT,), "int32"),
):
    """Every workgroup doubles its part; the last to be done adds all of them up, and counts 0."""
    T.func_attr({"tirx.noalias": True})
    for block in T.thread_binding(WORKGROUPS, thread="blockIdx.x"):
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            before = T.alloc_buffer((1,), "int32", scope="shared")
            total = T.alloc_buffer((1,), "int32", scope="local")
            doubled[block * COUNT + t] = a[block * COUNT + t] * 2
            T.evaluate(T.call_extern("int32", "ferrylm.device_release"))
            T.tvm_storage_sync("shared")
            if t == 0:
                before[0] = T.call_extern(
                    "int32", "ferrylm.device_count", T.address_of(counter[0]), T.int32(1)
                )
            T.tvm_storage_sync("shared")
            if before[0] == WORKGROUPS - 1:
                T.evaluate(T.call_extern("int32", "ferrylm.device_acquire"))
                total[0] = 0
                for i in T.serial(WORKGROUPS):
                    # Of another thread than this one's.
                    total[0] = total[0] + doubled[i * COUNT + (COUNT - 1 - t)]
                o[COUNT - 1 - t] = total[0]
                if t == 0:
                    counter[0] = 0


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


def _matrix(name: str, *arguments: Any) -> Any:
    return T.call_extern("int32", f"ferrylm.coopmat_{name}", *arguments)


def cooperative_product(dtype: str, result: str, shared: bool) -> Any:
    """Return (a, b, c): c = a @ b by tiles of 16 x 16, the left one by way of shared memory."""

    @T.inline
    def load_left(left, a, staged, first, t):
        if shared:
            T.evaluate(T.tvm_storage_sync("shared"))
            for i in T.serial(8):
                staged[i * 32 + t] = a[first + (i * 2 + t // 16) * 64 + t % 16]
            T.evaluate(T.tvm_storage_sync("shared"))
            T.evaluate(_matrix("load", left, 0, dtype, 16, 16, T.address_of(staged[0]), 16, 0))
        else:
            T.evaluate(_matrix("load", left, 0, dtype, 16, 16, T.address_of(a[first]), 64, 0))

    @T.prim_func(s_tir=True)
    def func(
        a: T.Buffer((32 * 64,), dtype),
        b: T.Buffer((64 * 32,), dtype),
        c: T.Buffer((32 * 32,), result),
    ):
        T.func_attr({"ferrylm.subgroup_size": 32})
        for block in T.thread_binding(4, thread="blockIdx.x"):
            for t in T.thread_binding(32, thread="threadIdx.x"):
                tile_a = T.alloc_buffer((1,), dtype, scope="local")
                tile_b = T.alloc_buffer((1,), dtype, scope="local")
                tile_c = T.alloc_buffer((1,), result, scope="local")
                staged = T.alloc_buffer((256,), dtype, scope="shared")
                left = T.meta_var(T.address_of(tile_a[0]))
                right = T.meta_var(T.address_of(tile_b[0]))
                sums = T.meta_var(T.address_of(tile_c[0]))
                row, column = T.meta_var(block // 2), T.meta_var(block % 2)
                T.evaluate(_matrix("fill", sums, 2, result, 16, 16, T.Cast(result, 0)))
                for k in T.serial(4):
                    load_left(left, a, staged, row * 1024 + k * 16, t)
                    at = T.meta_var(T.address_of(b[k * 512 + column * 16]))
                    T.evaluate(_matrix("load", right, 1, dtype, 16, 16, at, 32, 0))
                    T.evaluate(_matrix("mul_add", sums, left, right, sums))
                to = T.meta_var(T.address_of(c[row * 512 + column * 16]))
                T.evaluate(_matrix("store", sums, to, 32, 0))

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


def by_number(number: int) -> Any:
    """Return (input, output): an extended instruction that is named by its number."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((COUNT,), "float32"), o: T.Buffer((COUNT,), "float32")):
        for t in T.thread_binding(COUNT, thread="threadIdx.x"):
            o[t] = T.call_intrin("float32", "tirx.call_spirv_pure_glsl450", T.uint32(number), a[t])

    return func
