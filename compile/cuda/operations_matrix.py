"""Operations of a whole warp on matrix fragments."""

from __future__ import annotations

from ferrylm.compile.cuda.operation import Operation, assembly, function

_F16_OPERANDS = (
    ' : "=f"(d.x), "=f"(d.y), "=f"(d.z), "=f"(d.w) : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), '
    '"r"(b.x), "r"(b.y), "f"(c.x), "f"(c.y), "f"(c.z), "f"(c.w)'
)
_F16_HALF = ' : "+f"(d.x), "+f"(d.y), "+f"(d.z), "+f"(d.w) : "r"(a.{0}), "r"(a.{1}), "r"(b.{2})'
_S8_OPERANDS = _F16_OPERANDS.replace('"=f"', '"=r"').replace('"f"', '"r"')
_S8_QUARTER = ' : "+r"(d.{0}), "+r"(d.{1}) : "r"(a.{2}), "r"(b.{3})'


def _s8_quarter(first: str, second: str, a: str, b: str) -> str:
    return assembly(
        "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};",
        _S8_QUARTER.format(first, second, a, b),
    )


def _f16_half(first: str, second: str, b: str) -> str:
    return assembly(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};",
        _F16_HALF.format(first, second, b),
    )


_WHOLE_MMA = "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
MATRIX = (
    Operation(
        "mma_m16n8k16_f16", "uint32x4 a, uint32x2 b, float32x4 c", "float32x4",
        "a * b + c on fragments of float16 (PTX ISA, mma.m16n8k16); two of k8 before 80",
        function("float4", "mma_m16n8k16_f16", "uint4 a, uint2 b, float4 c",
                  "float4 d = c;\n#if __CUDA_ARCH__ >= 800\n"
                  + assembly("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 " + _WHOLE_MMA,
                         _F16_OPERANDS)
                  + "\n#else\n" + _f16_half("x", "y", "x") + "\n" + _f16_half("z", "w", "y")
                  + "\n#endif\nreturn d;"),
    ),
    Operation(
        "mma_m16n8k32_s8", "uint32x4 a, uint32x2 b, int32x4 c", "int32x4",
        "a * b + c on fragments of signed bytes (PTX ISA, mma.m16n8k32); four of 8x8 before 80",
        function("int4", "mma_m16n8k32_s8", "uint4 a, uint2 b, int4 c",
                  "int4 d = c;\n#if __CUDA_ARCH__ >= 800\n"
                  + assembly("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 " + _WHOLE_MMA,
                         _S8_OPERANDS)
                  + "\n#else\n" + _s8_quarter("x", "y", "x", "x")
                  + _s8_quarter("x", "y", "z", "y")
                  + "\n" + _s8_quarter("z", "w", "y", "x") + _s8_quarter("z", "w", "w", "y")
                  + "\n#endif\nreturn d;"),
    ),
    Operation(
        "load_matrix_x4", "pointer to a row of 16 bytes in shared memory", "uint32x4",
        "four 8x8 matrices of 16-bit elements as fragments (PTX ISA, ldmatrix)",
        function("uint4", "load_matrix_x4", "const void* row",
                  "uint4 v; "
                  + assembly("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];",
                         ' : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)'
                         ' : "r"(ferrylm_shared(row))', memory=True)
                  + " return v;"),
        effect=True,
    ),
    Operation(
        "load_matrix_x4_transposed", "pointer to a row of 16 bytes in shared memory", "uint32x4",
        "the same, rows and columns of each matrix exchanged (PTX ISA, ldmatrix.trans)",
        function("uint4", "load_matrix_x4_transposed", "const void* row",
                  "uint4 v; "
                  + assembly("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
                             "{%0, %1, %2, %3}, [%4];",
                         ' : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)'
                         ' : "r"(ferrylm_shared(row))', memory=True)
                  + " return v;"),
        effect=True,
    ),
)  # fmt: skip
