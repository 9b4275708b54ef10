"""LLVM text of kernels for an AMD chip as text for the host, with calls where instructions were.

It is the text that the chip's code is optimized and assembled from (compile/rocm/llvm_text.py),
less what is not the host's: address spaces, the calling convention, attributes of the chip. Its
intrinsics become the functions of instructions.cc and matrices.cc.
"""

from __future__ import annotations

import json
import re

MOST_SHARED_BYTES = 64 << 10  # LDS of a workgroup
_INTRINSICS = {
    "workitem.id.x": "amd_workitem_x",
    "workgroup.id.x": "amd_workgroup_x",
    "workgroup.id.y": "amd_workgroup_y",
    "workgroup.id.z": "amd_workgroup_z",
    "s.barrier": "amd_barrier",
    "wave.barrier": "amd_wave_barrier",
    "mbcnt.lo": "amd_count_before_low",
    "mbcnt.hi": "amd_count_before_high",
    "readfirstlane.i32": "amd_first_lane",
    "readlane.i32": "amd_read_lane",
    "sdot4": "amd_dot4",
    "sudot4": "amd_dot4_mixed",
    "update.dpp.i32": "amd_dpp",
    "permlanex16.i32": "amd_exchange_rows",
    "ds.swizzle": "amd_swizzle",
    "ds.bpermute": "amd_permute",
}
# Function, halves of a factor and sums of a lane.
_MATRICES = {
    "wmma.f32.16x16x16.f16.v8f32.v16f16": ("amd_wmma_rdna3", 16, 8),
    "wmma.f32.16x16x16.f16.v8f32.v8f16": ("amd_wmma_rdna4", 8, 8),
    "mfma.f32.16x16x16f16": ("amd_mfma", 4, 4),
}
_INTRINSIC = re.compile(r"@llvm\.amdgcn\.([\w.]+)")
_KERNEL = re.compile(r'^define protected amdgpu_kernel void @"?([\w.$-]+)"?\((.*)\) ', re.MULTILINE)
_SHARED = re.compile(r"^@([\w.]+) = .*addrspace\(3\) global (.+) undef, align \d+$", re.MULTILINE)
_HOST = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"}


def for_host(text: str) -> str:
    """Return finished text of compile/rocm as text that TVM compiles for the host.

    Raises ValueError for kernels with assembly, as chips without a dot product of bytes have them.
    """
    if re.search(r"call \S+ asm ", text):
        raise ValueError("kernels with assembly of the chip, which no host runs")
    shared = _SHARED.findall(text)
    kernels = _KERNEL.findall(text)
    text = re.sub(r"^target (datalayout|triple) = .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^declare .*@llvm\.amdgcn\..*\n", "", text, flags=re.MULTILINE)
    text = text.replace("protected amdgpu_kernel ", "").replace("memory(none) ", "")
    text = re.sub(r' "(target-cpu|target-features|amdgpu-[\w-]+)"="[^"]*"', "", text)
    text = re.sub(r"^(attributes #\d+) = \{ *\}", r"\1 = { nounwind }", text, flags=re.MULTILINE)
    text = re.sub(r"addrspacecast ptr addrspace\(\d\) (\S+) to ptr", r"bitcast ptr \1 to ptr", text)
    text = re.sub(r",? addrspace\(\d\)", "", text)
    used = sorted(set(_INTRINSIC.findall(text)))
    declared = [_declaration(name, text) for name in used]
    text = _INTRINSIC.sub(lambda found: f"@{_function(found[1])}", text)
    entries = [_entry(name, parameters, shared) for name, parameters in kernels]
    begin = "declare void @amd_begin(ptr, i64)"
    limit = f"@most_shared_bytes = constant i32 {MOST_SHARED_BYTES}"
    return "\n".join([_with_target(text), *declared, begin, limit, *entries, ""])


def _function(intrinsic: str) -> str:
    if intrinsic in _MATRICES:
        return f"emulated.{_MATRICES[intrinsic][0]}"
    return _INTRINSICS[intrinsic]


def _declaration(intrinsic: str, text: str) -> str:
    """Return the declaration of an intrinsic's function, or a matrix's operands in memory."""
    if intrinsic in _MATRICES:
        return _matrix(intrinsic, *_MATRICES[intrinsic])
    call = re.search(rf"call (\S+) @llvm\.amdgcn\.{re.escape(intrinsic)}\((.*?)\)", text)
    assert call is not None
    # A bool's upper bits are anything unless they are said to be zero.
    kinds = [one.strip().split(" ")[0] for one in call[2].split(",") if one.strip()]
    types = ["i1 zeroext" if kind == "i1" else kind for kind in kinds]
    return f"declare {call[1]} @{_INTRINSICS[intrinsic]}({', '.join(types)})"


def _matrix(intrinsic: str, function: str, halves: int, sums: int) -> str:
    factor, total = f"<{halves} x half>", f"<{sums} x float>"
    extra = ", i32 %x, i32 %y, i32 %z" if intrinsic.startswith("mfma") else ""
    stored = "\n".join(
        f"  %p{name} = alloca {kind}\n  store {kind} %{name}, ptr %p{name}"
        for name, kind in (("a", factor), ("b", factor), ("c", total))
    )
    return f"""declare void @{function}(ptr, ptr, ptr, ptr)
define internal {total} @emulated.{function}({factor} %a, {factor} %b, {total} %c{extra}) {{
{stored}
  %pd = alloca {total}
  call void @{function}(ptr %pa, ptr %pb, ptr %pc, ptr %pd)
  %d = load {total}, ptr %pd
  ret {total} %d
}}"""


def _entry(name: str, parameters: str, shared: list[tuple[str, str]]) -> str:
    """Return the function that a launch calls, with a kernel's arguments as 64 bits each."""
    lines, values = [], []
    for place, parameter in enumerate(filter(None, parameters.split(", "))):
        kind = parameter.split(" ")[0]
        lines.append(f"  %at{place} = getelementptr i64, ptr %given, i32 {place}")
        lines.append(f"  %value{place} = load {kind}, ptr %at{place}")
        values.append(f"{kind} %value{place}")
    sizes = [f"ptrtoint (ptr getelementptr ({kind}, ptr null, i32 1) to i64)" for _, kind in shared]
    for (array, _), size in zip(shared, sizes, strict=True):
        lines.append(f"  call void @amd_begin(ptr @{array}, i64 {size})")
    body = "\n".join(lines)
    return f"""@shared_bytes_of_{name} = constant i32 0
define void @emulated_{name}(ptr %given) {{
{body}
  call void @{name}({", ".join(values)})
  ret void
}}"""


def _with_target(text: str) -> str:
    """Tell TVM's loader what the text is to be compiled for."""
    used = re.findall(r"^!(\d+) = ", text, re.MULTILINE)
    number = 1 + max(map(int, used), default=-1)
    quoted = json.dumps(_HOST).replace('"', "\\22")
    text = re.sub(r"^!llvm\.module\.flags = .*\n", "", text, flags=re.MULTILINE)
    flag = f'!{number} = !{{i32 2, !"tvm_target", !"{quoted}"}}'
    return f"{text}\n!llvm.module.flags = !{{!{number}}}\n{flag}\n"
