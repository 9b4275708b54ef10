"""Finish the LLVM text of a module of kernels: our functions, launch bounds, code object version.

TVM's generator knows neither a kernel's block size nor code object versions, and adds host helpers
for half precision; LLVM knows no measure in moving loads out of loops. All of this is settled in
the text, between generation and optimization.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.device_functions import PREFIX, function_text, unknown_function

Block = tuple[int, int, int]

_DECLARATION = re.compile(r'^declare [^@\n]*@("?)([\w.$-]+)\1\(.*\n', re.MULTILINE)
_WEAK = re.compile(r"^define weak .*?^}\n", re.MULTILINE | re.DOTALL)
_KERNEL = re.compile(
    r'^define (?:dllexport )?amdgpu_kernel void @("?)([\w.$-]+)\1\((.*)\)([^()\n]*) \{\n',
    re.MULTILINE,
)
_LOOP_BODY = re.compile(r'^"?for_body_[\w.]+"?:.*\n(?: +%\S+ = phi .*\n)*', re.MULTILINE)
# Costs no instruction. Without it LLVM moves every load from LDS that does not change out of the
# loop, hundreds of them in attention, and then spills what it has loaded.
_LOOP_FENCE = '  fence syncscope("singlethread") acq_rel\n'
_ATTRIBUTE_GROUP = re.compile(r"#\d+")


def finish(text: str, arch: Architecture, blocks: Mapping[str, Block]) -> str:
    """Return the text ready for optimization; `blocks` has each kernel's threads per block.

    Raises CompileError when a kernel calls a function that nobody defines.
    """
    text = _LOOP_BODY.sub(lambda found: found[0] + _LOOP_FENCE, _WEAK.sub("", text))
    functions: list[str] = []

    def replace(found: re.Match[str]) -> str:
        name = found[2]
        if name.startswith("llvm."):
            return found[0]
        if not name.startswith(PREFIX):
            raise unknown_function(name)
        functions.append(function_text(name, arch))
        return ""

    text = _DECLARATION.sub(replace, text)
    bodies = "\n".join(functions)
    declared = {found[2] for found in _DECLARATION.finditer(text)}
    kernels = _Kernels(arch, blocks, first_free(text))
    text = _KERNEL.sub(kernels.replace, text)
    return "\n".join([text, bodies, declarations(bodies, declared), *kernels.tail(), ""])


def declarations(bodies: str, declared: set[str]) -> str:
    """Return declarations of the intrinsics that `bodies` call, but for those declared already."""
    used = sorted(set(re.findall(r"@(llvm\.[\w.]+)\(", bodies)) - declared)
    return "\n".join(_declare(name, bodies) for name in used)


def _declare(name: str, bodies: str) -> str:
    """Return the declaration of an intrinsic, read off one of its calls.

    LLVM adds the attributes of an intrinsic by itself.
    """
    call = re.search(rf"call (.+?) @{re.escape(name)}\((.*?)\)", bodies)
    assert call is not None
    types = [argument.strip().rsplit(" ", 1)[0] for argument in _split(call[2])]
    return f"declare {call[1]} @{name}({', '.join(types)})"


def _split(arguments: str) -> list[str]:
    return [part for part in arguments.split(",") if part.strip()]


def first_free(text: str) -> int:
    """Return a number that no metadata or attribute group of the text has, nor any after it."""
    used = re.findall(r"^(?:!|attributes #)(\d+) = ", text, re.MULTILINE)
    return 1 + max(map(int, used), default=-1)


class _Kernels:
    """Puts attributes of its own on every kernel."""

    def __init__(self, arch: Architecture, blocks: Mapping[str, Block], first: int) -> None:
        self.arch = arch
        self.blocks = blocks
        self.first = first
        self.groups: list[str] = []
        self.sizes: list[Block] = []

    def replace(self, found: re.Match[str]) -> str:
        block = self.blocks[found[2]]
        threads = block[0] * block[1] * block[2]
        index = self.first + len(self.sizes)
        self.sizes.append(block)
        features = ",".join(self.arch.features)
        self.groups.append(
            f"attributes #{index} = {{ nounwind "
            f'"amdgpu-flat-work-group-size"="{threads},{threads}" '
            f'"uniform-work-group-size"="true" "target-cpu"="{self.arch.name}"'
            + (f' "target-features"="{features}"' if features else "")
            + " }"
        )
        after = _ATTRIBUTE_GROUP.sub("", found[4]).strip()
        name = f"{found[1]}{found[2]}{found[1]}"
        head = f"define protected amdgpu_kernel void @{name}({found[3]}) {after}".rstrip()
        return f"{head} #{index} !reqd_work_group_size !{index} {{\n"

    def tail(self) -> list[str]:
        sizes = [
            f"!{index} = !{{i32 {x}, i32 {y}, i32 {z}}}"
            for index, (x, y, z) in enumerate(self.sizes, self.first)
        ]
        last = self.first + len(self.sizes)
        version = 100 * self.arch.code_object_version
        flag = f'!{last} = !{{i32 1, !"amdhsa_code_object_version", i32 {version}}}'
        # Module flags that TVM wrote for its own loader would ask for another flag's value.
        return [*self.groups, *sizes, flag, f"!llvm.module.flags = !{{!{last}}}"]


def without_flags(text: str) -> str:
    """Return the text without the module flags that TVM wrote."""
    return re.sub(r"^!llvm\.module\.flags = .*\n", "", text, flags=re.MULTILINE)


def kernel_names(text: str) -> list[str]:
    """Return the names of the kernels in finished text."""
    return re.findall(r'^define protected amdgpu_kernel void @"?([\w.$-]+)"?\(', text, re.MULTILINE)
