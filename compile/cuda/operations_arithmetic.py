"""Operations on words: bytes, packed halves and bits."""

from __future__ import annotations

from ferrylm.compile.cuda.operation import Operation, assembly, function, template

ARITHMETIC = (
    Operation(
        "dot4_i8", "a, b words of 4 signed bytes, int32 total", "int32",
        "total + sum of a_i * b_i",
        function("int", "dot4_i8", "int a, int b, int total", "return __dp4a(a, b, total);"),
        shared=True,
    ),
    Operation(
        "dot4_u8_i8", "a word of 4 unsigned bytes, b of signed ones, int32 total", "int32",
        "total + sum of a_i * b_i",
        function(
            "int", "dot4_u8_i8", "unsigned a, int b, int total",
            "int sum; "
            + assembly("dp4a.u32.s32 %0, %1, %2, %3;",
                   ' : "=r"(sum) : "r"(a), "r"(b), "r"(total)')
            + " return sum;",
        ),
        shared=True,
    ),
    Operation(
        "fma", "a, b, c float32 or float16, or vectors of 2 or 4", "their type",
        "a * b + c, rounded once",
        function("float", "fma", "float a, float b, float c", "return fmaf(a, b, c);")
        + function("half", "fma", "half a, half b, half c", "return __hfma(a, b, c);")
        + function("half2", "fma", "half2 a, half2 b, half2 c", "return __hfma2(a, b, c);")
        + function("float2", "fma", "float2 a, float2 b, float2 c",
                    "return make_float2(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y));")
        + function("float4", "fma", "float4 a, float4 b, float4 c",
                    "return make_float4(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), "
                    "fmaf(a.z, b.z, c.z), fmaf(a.w, b.w, c.w));"),
        shared=True,
    ),
    Operation(
        "exp2_approximate", "x float32", "float32",
        "2 to the power of x, off by 2^-22 of it at most, 0 below 2^-126 (PTX ISA, ex2.approx.ftz)",
        function("float", "exp2_approximate", "float x",
                  "float y; " + assembly("ex2.approx.ftz.f32 %0, %1;", ' : "=f"(y) : "f"(x)')
                  + " return y;"),
    ),
    Operation(
        "unpack_half2", "word of halves", "float32x2", "both halves as float32",
        function("float2", "unpack_half2", "unsigned x",
                  "return __half22float2(ferrylm_halves(x));"),
        shared=True,
    ),
    Operation(
        "atomic_add", "pointer, value int32, uint32 or float32", "type of value",
        "add to memory as one step; returns what was there",
        template("T", "atomic_add", "T* where, T value", "return atomicAdd(where, value);")
        + template("T", "atomic_add", "void* where, T value",
                    "return atomicAdd((T*)where, value);"),
        shared=True, effect=True,
    ),
    Operation(
        "lop3", "words a, b, c, constant table", "uint32",
        "any bitwise function of three words (PTX ISA, lop3); (a & b) | c is table 0xEA",
        "template <int TABLE> "
        + function("unsigned", "lop3_of", "unsigned a, unsigned b, unsigned c",
                    "unsigned d; "
                    + assembly("lop3.b32 %0, %1, %2, %3, %4;",
                           ' : "=r"(d) : "r"(a), "r"(b), "r"(c), "n"(TABLE)')
                    + " return d;")
        + "#define ferrylm_lop3(a, b, c, table) ferrylm_lop3_of<(table)>(a, b, c)\n",
    ),
)  # fmt: skip


def _half2(name: str, arguments: str, meaning: str, call: str) -> Operation:
    values = ", ".join(f"ferrylm_halves({letter})" for letter in arguments)
    parameters = ", ".join(f"unsigned {letter}" for letter in arguments)
    return Operation(
        f"half2_{name}", f"words of halves {', '.join(arguments)}", "word of halves", meaning,
        function("unsigned", f"half2_{name}", parameters,
                  f"return ferrylm_word({call}({values}));"),
    )  # fmt: skip


# Arithmetic on words, because TVM takes float16x2 arithmetic apart into scalar instructions.
HALF2 = (
    _half2("fma", "abc", "a * b + c in each half, rounded once", "__hfma2"),
    _half2("add", "ab", "a + b in each half", "__hadd2"),
    _half2("sub", "ab", "a - b in each half", "__hsub2"),
    _half2("mul", "ab", "a * b in each half", "__hmul2"),
    _half2("max", "ab", "the larger in each half", "__hmax2"),
    _half2("min", "ab", "the smaller in each half", "__hmin2"),
    Operation(
        "half2_pack", "float32 low, high", "word of halves", "both rounded to float16",
        function("unsigned", "half2_pack", "float low, float high",
                  "return ferrylm_word(__floats2half2_rn(low, high));"),
    ),
    Operation(
        "half2_broadcast", "float16 x", "word of halves", "x twice",
        function("unsigned", "half2_broadcast", "half x",
                  "return ferrylm_word(__half2half2(x));"),
    ),
)  # fmt: skip
