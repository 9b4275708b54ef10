# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Rows of activations rounded to float16 for matrix units, in the layout of whoever multiplies.

computes  out = UNIT * x, or UNIT * RMSNorm(x) * gain (arXiv 1910.07467), rounded to float16
shapes    x float32 (M, padded(H)); gain float32 (H,); out uint32, two numbers a word
mapping   workgroup  a row, read once;  lane  units of 16 bytes of the result

Factors of two cost nothing: UNIT moves float16's range to +-1e6, since what a SwiGLU gives may pass
65504, and what falls below its least normal number, 1e-3 now, is small beside the rest of a row.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.operations import subgroup_add
from ferrylm.schedules.signature import without

UNIT = 1 / 16  # of what the float16 numbers count
WORDS = 4  # of a unit, two numbers each


def half_of(word: Any, half: Any) -> Any:
    """Return the number of the lower (0) or upper (1) half of a word as float32, in ones."""
    bits = T.cast(T.shift_right(word, T.cast(half * 16, "uint32")), "uint16")
    return T.cast(T.reinterpret(bits, dtype="float16"), "float32") * T.float32(1 / UNIT)


@T.inline
def add_squares(total, partial, thread, subgroup, subgroups):  # noqa: D103
    total[0] = subgroup_add(total[0])
    if thread % subgroup == 0:
        partial[thread // subgroup] = total[0]
    T.tvm_storage_sync("shared")
    total[0] = T.float32(0)
    for i in T.unroll(subgroups):
        total[0] = total[0] + partial[i]


def round_rows(
    extent: Any,
    layout: Any,
    units: int,
    threads: int,
    subgroup: int,
    eps: float | None,
    load: Any,
    store: Any,
) -> Any:
    """Return the PrimFunc (x, [gain], out); with `eps` the norm comes first.

    A row of `layout` has so many units. The macros are load(x, gain, values, total, m, i, unit):
    the unit's numbers to values[2 * WORDS * i ..], times their gain and their squares added to the
    total if there is a norm, zeros beyond the last column; store(values, out, factor, m, i, unit).
    """
    width, normed = layout.columns, eps is not None
    epsilon, each = 0.0 if eps is None else eps, -(-units // threads)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, gain: T.Buffer((width,), "float32"), pout: T.handle):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": subgroup})
        x = T.match_buffer(px, (extent, padded(width)), "float32")
        out = T.match_buffer(pout, layout.shape(extent), "uint32")
        for m in T.thread_binding(extent, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                values = T.alloc_buffer((each * 2 * WORDS,), "float32", scope="local")
                factor = T.alloc_buffer((1,), "float32", scope="local")
                partial = T.alloc_buffer((threads // subgroup,), "float32", scope="shared")
                factor[0] = T.float32(0)
                for i in T.unroll(each):
                    if i * threads + thread < units:
                        load(x, gain, values, factor, m, i, i * threads + thread)
                if normed:
                    add_squares(factor, partial, thread, subgroup, threads // subgroup)
                    factor[0] = T.float32(UNIT) / T.sqrt(
                        factor[0] * T.float32(1 / width) + T.float32(epsilon)
                    )
                else:
                    factor[0] = T.float32(UNIT)
                for i in T.unroll(each):
                    if i * threads + thread < units:
                        store(values, out, factor, m, i, i * threads + thread)

    return func if normed else without(func, ["gain"])
