# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Operations on tiles, one by one, on the emulated waves of AMD's chips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm.script import tirx as T

from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.errors import CompileError
from tests.support.amd_emulator.runner import build, run

CASES = [("gfx1100", 16), ("gfx1201", 16), ("gfx90a", 16), ("gfx90a", 32)]
FACTOR, RIGHT, SUMS = range(3)
STRIDE = 5  # vectors from row to row in shared memory


def call(name: str, *arguments: Any) -> Any:
    """Return a call of an operation on tiles."""
    return T.call_extern("int32", f"ferrylm.coopmat_{name}", *arguments)


def everything(wave: int, k: int, order: int, right_order: int) -> Any:
    """Return the PrimFunc (a, b, c, f, out): out = f * (a @ b + c), of one subgroup.

    Tiles of `a` and of sums lie by rows, b by rows (0) or columns (1), as `right_order` says.
    """
    lines, words = (k, 8) if right_order == 0 else (16, k // 2)

    @T.inline
    def fill(source, near, first, count, vectors, thread):
        for i in T.serial((count * vectors + wave - 1) // wave):
            at = T.meta_var(i * wave + thread)
            if at < count * vectors:
                near[first + at // vectors * STRIDE + at % vectors] = source[
                    at // vectors, T.Ramp(at % vectors * 4, 1, 4)
                ]

    @T.prim_func(s_tir=True)
    def func(
        a: T.Buffer((16, k // 2), "uint32"),
        b: T.Buffer((lines, words), "uint32"),
        c: T.Buffer((16, 16), "uint32"),
        f: T.Buffer((16, 16), "uint32"),
        out: T.Buffer((16, 16), "uint32"),
    ):
        T.func_attr({"tirx.noalias": True})
        for _block in T.thread_binding(1, thread="blockIdx.x"):
            for thread in T.thread_binding(wave, thread="threadIdx.x"):
                near = T.alloc_buffer((96 * STRIDE,), "uint32x4", scope="shared")
                left = T.alloc_buffer((1,), "float16", scope="local")
                right = T.alloc_buffer((1,), "float16", scope="local")
                sums = T.alloc_buffer((2,), "float32", scope="local")
                fill(a, near, 0, 16, k // 8, thread)
                fill(b, near, 16 * STRIDE, lines, words // 4, thread)
                fill(c, near, 48 * STRIDE, 16, 4, thread)
                fill(f, near, 64 * STRIDE, 16, 4, thread)
                T.tvm_storage_sync("shared")
                T.evaluate(
                    call(
                        "load",
                        T.address_of(left[0]),
                        FACTOR,
                        "float16",
                        16,
                        k,
                        T.address_of(near[0]),
                        STRIDE,
                        order,
                    )
                )
                T.evaluate(
                    call(
                        "load",
                        T.address_of(right[0]),
                        RIGHT,
                        "float16",
                        k,
                        16,
                        T.address_of(near[16 * STRIDE]),
                        STRIDE,
                        right_order,
                    )
                )
                for i in T.unroll(2):
                    T.evaluate(
                        call(
                            "load",
                            T.address_of(sums[i]),
                            SUMS,
                            "float32",
                            16,
                            16,
                            T.address_of(near[(48 + 16 * i) * STRIDE]),
                            STRIDE,
                            0,
                        )
                    )
                T.evaluate(
                    call(
                        "mul_add",
                        T.address_of(sums[0]),
                        T.address_of(left[0]),
                        T.address_of(right[0]),
                        T.address_of(sums[0]),
                    )
                )
                T.evaluate(call("scale", T.address_of(sums[0]), T.address_of(sums[1])))
                T.evaluate(
                    call("store", T.address_of(sums[0]), T.address_of(near[80 * STRIDE]), STRIDE, 0)
                )
                T.tvm_storage_sync("shared")
                for i in T.serial(64 // wave):
                    at = T.meta_var(i * wave + thread)
                    out[at // 4, T.Ramp(at % 4 * 4, 1, 4)] = near[
                        80 * STRIDE + at // 4 * STRIDE + at % 4
                    ]

    return func  # fmt: skip


@pytest.mark.parametrize("order", [0, 1], ids=["by rows", "by columns"])
@pytest.mark.parametrize(("chip", "k"), CASES)
def test_tiles_are_loaded_multiplied_scaled_and_stored(chip: str, k: int, order: int) -> None:
    arch = ARCHITECTURES[chip]
    rng = np.random.default_rng(k)
    a, b = rng.standard_normal((16, k)), rng.standard_normal((k, 16))
    a, b = a.astype(np.float16), b.astype(np.float16)
    c, f = rng.standard_normal((2, 16, 16)).astype(np.float32)
    stored = np.ascontiguousarray(b if order == 0 else b.T)
    built = build({"f": everything(arch.wave, k, 0, order)}, arch)
    inputs = [one.view(np.uint32) for one in (a, stored, c, f)]
    (found,) = run(built["f"], inputs, [((16, 16), "uint32")])
    wanted = f * (a.astype(np.float64) @ b.astype(np.float64) + c)
    np.testing.assert_allclose(found.view(np.float32), wanted, rtol=1e-5, atol=1e-5)


def test_a_left_factor_by_columns_is_refused() -> None:
    with pytest.raises(CompileError, match="by columns"):
        build({"f": everything(32, 16, 1, 1)}, ARCHITECTURES["gfx1100"])
