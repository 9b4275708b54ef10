"""Byte dot products and the mathematics that LLVM does not lower for AMD GPUs, as LLVM functions.

LLVM expands exp, exp2, log, log2, log10, sqrt and division of float32 itself, to one or two units
in the last place. What it leaves is here, so that no device library is linked:

- `sin`, `cos`: reduction by pi/2 in three parts with fma, then the polynomials of Cephes' sinf and
  cosf; absolute error below 1.2e-7 for |x| <= 131072, and growing with |x| beyond;
- `pow`: exp2(y * log2(x)) with the product's rounding error carried; relative error at most
  (2 + 1.4 * |y * log2(x)|) * 2^-24, special cases as in C.

float16 goes through float32. The tests run this very text on the host.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.lane_functions import define

_PURE = "nounwind willreturn memory(none) alwaysinline"
_ONES = 0x01010101
_SIGNS = 0x80808080 - (1 << 32)


def constant(value: float) -> str:
    """Return a float32 constant as LLVM writes it: the bits of the equal double."""
    (single,) = struct.unpack("<f", struct.pack("<f", value))
    (bits,) = struct.unpack("<Q", struct.pack("<d", single))
    return f"0x{bits:016X}"


def _parts(value: float, count: int) -> list[float]:
    parts = []
    for _ in range(count):
        (single,) = struct.unpack("<f", struct.pack("<f", value))
        parts.append(single)
        value -= single
    return parts


def _fma(result: str, a: str, b: str, c: str) -> str:
    return f"%{result} = call float @llvm.fma.f32(float {a}, float {b}, float {c})"


def _reduced_angle() -> list[str]:
    # Three float32 parts hold pi/2 to 75 bits; a double holds 53, so its own rest goes in too.
    first, second, _ = _parts(math.pi / 2, 3)
    third = (math.pi / 2 - first - second) + 6.123233995736766e-17
    return [
        f"%turns = fmul float %x, {constant(2 / math.pi)}",
        "%q = call float @llvm.rint.f32(float %turns)",
        "%nq = fneg float %q",
        _fma("r1", "%nq", constant(first), "%x"),
        _fma("r2", "%nq", constant(second), "%r1"),
        _fma("r", "%nq", constant(third), "%r2"),
        "%quadrant = call i32 @llvm.fptosi.sat.i32.f32(float %q)",
        "%z = fmul float %r, %r",
        _fma("s1", "%z", constant(-1.9515295891e-4), constant(8.3321608736e-3)),
        _fma("s2", "%z", "%s1", constant(-1.6666654611e-1)),
        "%s3 = fmul float %z, %s2",
        _fma("sine", "%r", "%s3", "%r"),
        _fma("c1", "%z", constant(2.443315711809948e-5), constant(-1.388731625493765e-3)),
        _fma("c2", "%z", "%c1", constant(4.166664568298827e-2)),
        _fma("c3", "%z", "%c2", constant(-0.5)),
        _fma("cosine", "%z", "%c3", constant(1.0)),
    ]


def _circular(name: str, first_quadrant: int) -> str:
    body = [
        *_reduced_angle(),
        f"%n = add i32 %quadrant, {first_quadrant}",
        "%odd.bit = and i32 %n, 1",
        "%odd = icmp ne i32 %odd.bit, 0",
        "%magnitude = select i1 %odd, float %cosine, float %sine",
        "%sign.bit = and i32 %n, 2",
        "%negative = icmp ne i32 %sign.bit, 0",
        "%opposite = fneg float %magnitude",
        "%result = select i1 %negative, float %opposite, float %magnitude",
        "ret float %result",
    ]
    return define(name, "float", "float %x", body, _PURE)


def _sin(name: str) -> str:
    return _circular(name, 0)


def _cos(name: str) -> str:
    return _circular(name, 1)


def _pow(name: str) -> str:
    infinity, nan = "0x7FF0000000000000", "0x7FF8000000000000"
    body = [
        "%a = call float @llvm.fabs.f32(float %x)",
        "%l = call float @llvm.log2.f32(float %a)",
        "%p = fmul float %y, %l",
        "%np = fneg float %p",
        _fma("e", "%y", "%l", "%np"),
        "%r0 = call float @llvm.exp2.f32(float %p)",
        f"%c = fmul float %e, {constant(math.log(2))}",
        _fma("r1", "%r0", "%c", "%r0"),
        # An infinite product or power has no rounding error to carry: the fma would make it a NaN.
        "%pa = call float @llvm.fabs.f32(float %p)",
        f"%p.finite = fcmp olt float %pa, {infinity}",
        f"%r.finite = fcmp olt float %r0, {infinity}",
        "%finite = and i1 %p.finite, %r.finite",
        "%r2 = select i1 %finite, float %r1, float %r0",
        "%floor = call float @llvm.floor.f32(float %y)",
        "%integer = fcmp oeq float %floor, %y",
        "%half = fmul float %y, 5.0e-1",
        "%half.floor = call float @llvm.floor.f32(float %half)",
        "%uneven = fcmp one float %half, %half.floor",
        "%odd = and i1 %integer, %uneven",
        "%bits = bitcast float %x to i32",
        "%minus = icmp slt i32 %bits, 0",
        "%flip = and i1 %minus, %odd",
        "%r3 = fneg float %r2",
        "%r4 = select i1 %flip, float %r3, float %r2",
        "%negative = fcmp olt float %x, 0.0",
        "%x.finite = fcmp one float %x, 0xFFF0000000000000",
        "%fraction = xor i1 %integer, true",
        "%root = and i1 %negative, %fraction",
        "%undefined = and i1 %root, %x.finite",
        f"%r5 = select i1 %undefined, float {nan}, float %r4",
        "%zeroth = fcmp oeq float %y, 0.0",
        "%one = fcmp oeq float %x, 1.0",
        "%minus.one = fcmp oeq float %x, -1.0",
        "%ya = call float @llvm.fabs.f32(float %y)",
        f"%y.infinite = fcmp oeq float %ya, {infinity}",
        "%unit = and i1 %minus.one, %y.infinite",
        "%any = or i1 %zeroth, %one",
        "%exactly = or i1 %any, %unit",
        "%result = select i1 %exactly, float 1.0, float %r5",
        "ret float %result",
    ]
    return define(name, "float", "float %x, float %y", body, _PURE)


_MATHEMATICS: dict[str, tuple[Callable[[str], str], int]] = {
    "sin": (_sin, 1),
    "cos": (_cos, 1),
    "pow": (_pow, 2),
}
MATHEMATICS = tuple(_MATHEMATICS)


def mathematics(name: str, function: str, lanes: int, bits: int) -> str:
    """Return a function of `lanes` numbers of 16 or 32 bits, a lane after the other."""
    make, arity = _MATHEMATICS[function]
    if lanes == 1 and bits == 32:
        return make(name)
    inner = f"{name}.single"
    scalar = "float" if bits == 32 else "half"
    vector = scalar if lanes == 1 else f"<{lanes} x {scalar}>"
    body: list[str] = []
    result = "poison"
    for lane in range(lanes):
        arguments = []
        for index in range(arity):
            value = f"%a{index}"
            if lanes > 1:
                body.append(f"%e{lane}.{index} = extractelement {vector} {value}, i32 {lane}")
                value = f"%e{lane}.{index}"
            if bits == 16:
                body.append(f"%f{lane}.{index} = fpext half {value} to float")
                value = f"%f{lane}.{index}"
            arguments.append(f"float {value}")
        body.append(f"%r{lane} = call float @{inner}({', '.join(arguments)})")
        single = f"%r{lane}"
        if bits == 16:
            body.append(f"%h{lane} = fptrunc float {single} to half")
            single = f"%h{lane}"
        if lanes > 1:
            body.append(
                f"%v{lane} = insertelement {vector} {result}, {scalar} {single}, i32 {lane}"
            )
            single = f"%v{lane}"
        result = single
    body.append(f"ret {vector} {result}")
    parameters = ", ".join(f"{vector} %a{index}" for index in range(arity))
    return make(inner) + define(name, vector, parameters, body, _PURE)


def dot4(arch: Architecture, name: str, first_is_signed: bool) -> str:
    """Return acc + the sum of four byte products; b is signed, a as said; exact modulo 2^32."""
    if arch.dot == "mixed":
        call = f"i1 {str(first_is_signed).lower()}, i32 %a, i1 true, i32 %b, i32 %acc, i1 false"
        body = [f"%r = call i32 @llvm.amdgcn.sudot4({call})", "ret i32 %r"]
    elif arch.dot == "signed" and first_is_signed:
        body = [_sdot4("r", "%a", "%b", "%acc"), "ret i32 %r"]
    elif arch.dot == "signed":
        # a = 128 + s with signed s: the dot product is that of s and 128 times the sum of b.
        body = [
            f"%s = xor i32 %a, {_SIGNS}",
            _sdot4("sum", "%b", str(_ONES), "0"),
            "%rest = shl i32 %sum, 7",
            "%base = add i32 %acc, %rest",
            _sdot4("r", "%s", "%b", "%base"),
            "ret i32 %r",
        ]
    else:
        body = _expanded_dot4(first_is_signed)
    return define(name, "i32", "i32 %a, i32 %b, i32 %acc", body, _PURE)


def _sdot4(result: str, a: str, b: str, accumulator: str) -> str:
    call = f"i32 {a}, i32 {b}, i32 {accumulator}, i1 false"
    return f"%{result} = call i32 @llvm.amdgcn.sdot4({call})"


def _expanded_dot4(first_is_signed: bool) -> list[str]:
    """Return four multiplications that pick their bytes themselves (SDWA, GCN 3 to RDNA 1).

    Written as shifts, LLVM keeps each byte of each operand in a register of its own, and spills.
    """
    body = []
    total = "%acc"
    first = "sext($1)" if first_is_signed else "$1"
    for byte in range(4):
        select = f"dst_sel:DWORD src0_sel:BYTE_{byte} src1_sel:BYTE_{byte}"
        multiply = f"v_mul_i32_i24_sdwa $0, {first}, sext($2) {select}"
        body += [
            f'%p{byte} = call i32 asm "{multiply}", "=v,v,v"(i32 %a, i32 %b)',
            f"%t{byte} = add i32 {total}, %p{byte}",
        ]
        total = f"%t{byte}"
    return [*body, f"ret i32 {total}"]


def fma(name: str, llvm_type: str, suffix: str) -> str:
    """Return a fused multiply-add of scalars or vectors; vectors of half stay packed."""
    arguments = ", ".join(f"{llvm_type} %{x}" for x in "abc")
    body = [
        f"%r = call {llvm_type} @llvm.fma.{suffix}({arguments})",
        f"ret {llvm_type} %r",
    ]
    return define(name, llvm_type, arguments, body, _PURE)


def unpack_half2(name: str) -> str:
    """Return the two halves of a word as float32, the low one first."""
    body = [
        "%h = bitcast i32 %x to <2 x half>",
        "%r = fpext <2 x half> %h to <2 x float>",
        "ret <2 x float> %r",
    ]
    return define(name, "<2 x float>", "i32 %x", body, _PURE)
