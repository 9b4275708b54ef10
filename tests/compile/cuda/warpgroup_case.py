# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""A kernel of two warpgroups that calls every operation of operations_warpgroup.py.

The first copies matrices to shared memory, the second multiplies them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.script import tirx as T

from ferrylm.compile.cuda.operation_names import rename_operations
from ferrylm.schedules.gpu.launch_bounds import resident

Array = np.ndarray
ROWS, COLUMNS, DEPTH, INNER = 64, 64, 32, 16  # of the products; INNER rows of the held one
CORE_BYTES = 128  # of 8 rows of 16 bytes
LEFT, RIGHT, HELD = 0, ROWS * DEPTH // 2, (ROWS + COLUMNS) * DEPTH // 2  # words
WORDS = HELD + INNER * COLUMNS // 2
READY, DONE = 0, 1  # signals


def effect(name: str, *arguments: Any, dtype: str = "void") -> Any:
    """Return a call that does more than return a value."""
    return T.call_extern(dtype, "ferrylm." + name, *arguments)


def matrix(near: Any, word: int, inner: int, outer: int) -> Any:
    """Return the description of a matrix that begins with a word."""
    return effect("matrix_near", T.address_of(near[word]), inner, outer, 0, dtype="uint64")


@T.inline
def copy(a, near, signals, thread):
    T.evaluate(effect("registers_release", 40))
    for i in T.unroll(-(-WORDS // 512)):
        if i * 512 + thread * 4 < WORDS:
            T.evaluate(
                effect(
                    "copy_async_u32x4", T.address_of(near[i * 512 + thread * 4]),
                    T.address_of(a[i * 512 + thread * 4]),
                )
            )  # fmt: skip
    T.evaluate(effect("signal_give_copied", T.address_of(signals[READY])))
    if thread == 0:
        T.evaluate(effect("signal_wait", T.address_of(signals[DONE]), 0))
    T.evaluate(effect("turn_give", 1, 256))


@T.inline
def multiply(near, signals, sums, thread):
    ones = T.alloc_buffer((4,), "uint32", scope="local")
    T.evaluate(effect("registers_claim", 128))
    for i in T.unroll(4):
        ones[i] = T.uint32(0x3C003C00)
    T.evaluate(effect("signal_wait", T.address_of(signals[READY]), 0))
    T.evaluate(effect("signal_publish"))
    T.evaluate(effect("products_fence"))
    for step in T.unroll(DEPTH // 16):
        T.evaluate(
            effect(
                "multiply_near", T.address_of(sums[0]),
                matrix(near, LEFT + step * ROWS * 8, ROWS * 16, CORE_BYTES),
                matrix(near, RIGHT + step * COLUMNS * 8, COLUMNS * 16, CORE_BYTES),
                T.if_then_else(step > 0, 1, 0), COLUMNS,
            )
        )  # fmt: skip
    T.evaluate(
        effect(
            "multiply_held", T.address_of(sums[0]), T.address_of(ones[0]),
            matrix(near, HELD, COLUMNS // 8 * CORE_BYTES, CORE_BYTES), COLUMNS,
        )
    )  # fmt: skip
    T.evaluate(effect("products_commit"))
    T.evaluate(effect("products_wait", 0))
    T.evaluate(effect("numbers_settle", T.address_of(sums[0]), COLUMNS // 2))
    T.evaluate(effect("signal_never", T.address_of(signals[DONE]), sums[0] * sums[0]))
    T.evaluate(effect("signal_give_if", T.address_of(signals[DONE]), thread % 32 == 0))
    T.evaluate(effect("turn_wait", 1, 256))


def warpgroup_kernel() -> Any:
    """Return the PrimFunc (words, float32 [ROWS, COLUMNS])."""

    @T.prim_func(s_tir=True)
    def func(a: T.Buffer((WORDS,), "uint32"), out: T.Buffer((ROWS, COLUMNS), "float32")):
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(256, thread="threadIdx.x"):
                near = T.alloc_buffer((WORDS,), "uint32", scope="shared.dyn")
                signals = T.alloc_buffer((2,), "uint64", scope="shared")
                sums = T.alloc_buffer((COLUMNS // 2,), "float32", scope="local")
                if thread == 0:
                    T.evaluate(effect("signal_begin", T.address_of(signals[READY]), 128))
                    T.evaluate(effect("signal_begin", T.address_of(signals[DONE]), 4))
                    T.evaluate(effect("signal_publish"))
                T.tvm_storage_sync("shared")
                if thread < 128:
                    copy(a, near, signals, thread)
                else:
                    multiply(near, signals, sums, thread)
                    for i in T.unroll(COLUMNS // 2):
                        out[
                            (thread - 128) // 32 * 16 + i // 2 % 2 * 8 + thread % 32 // 4,
                            i // 4 * 8 + thread % 4 * 2 + i % 2,
                        ] = sums[i]

    # The bound says how many registers there are to be divided.
    return resident(func, 1).with_attr("global_symbol", "warpgroups")


def warpgroup_operations() -> frozenset[str]:
    """Return the operations that the kernel calls."""
    return rename_operations(warpgroup_kernel())[1]


def core_matrices(rows: Array) -> Array:
    """Return rows of halves as they lie in shared memory: vectors of 8, of each all rows."""
    return np.ascontiguousarray(rows.reshape(len(rows), -1, 8).swapaxes(0, 1))


def held_matrix(rows: Array) -> Array:
    """Return rows of halves as `multiply_held` wants them: eight rows, of each vector all."""
    return np.ascontiguousarray(rows.reshape(-1, 8, rows.shape[1] // 8, 8).swapaxes(1, 2))


def matrices() -> tuple[Array, Array]:
    """Return the kernel's words, and what it makes of them."""
    generator = np.random.default_rng(3)
    left, right, held = (
        generator.integers(-8, 9, shape).astype(np.float16)
        for shape in ((ROWS, DEPTH), (COLUMNS, DEPTH), (INNER, COLUMNS))
    )
    parts = (core_matrices(left), core_matrices(right), held_matrix(held))
    words = np.concatenate([part.reshape(-1).view(np.uint32) for part in parts])
    wide = [part.astype(np.float64) for part in (left, right, held)]
    return words, wide[0] @ wide[1].T + wide[2].sum(axis=0)
