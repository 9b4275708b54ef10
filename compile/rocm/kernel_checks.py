"""The checks that every build ends with, on the machine code that came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm.code_object import CodeObject
from ferrylm.compile.rocm.kernel_resources import code_object_resources, defects, wrong_header
from ferrylm.errors import CompileError


def argument_bytes(func: Any) -> int:
    """Return the size of a kernel's arguments as the launcher packs them: like a C struct."""
    size = 0
    for parameter in func.params:
        bytes_each = _bytes(parameter)
        size = -(-size // bytes_each) * bytes_each + bytes_each
    return size


def _bytes(parameter: Any) -> int:
    dtype = getattr(parameter.ty, "dtype", None)
    if dtype is None or str(dtype) == "handle":
        return 8
    return max(1, int(dtype.bits) // 8)


def check_code_objects(built: Mapping[str, CodeObject], kernels: Any) -> None:
    """Check headers, waves, LDS, registers and argument sizes. Raises CompileError.

    Spilled registers are slow and no error: `kernel_resources.spills` tells of them.
    """
    wanted = {
        str(variable.name_hint): argument_bytes(func)
        for variable, func in kernels.functions.items()
    }
    for name, code_object in built.items():
        arch = ARCHITECTURES[name]
        _require(not (wrong := wrong_header(code_object.code, arch)), name, "header", wrong)
        found = code_object_resources(name, code_object.code)
        missing = sorted(set(wanted) ^ {kernel.name for kernel in found})
        _require(not missing, name, "list of kernels", missing)
        for kernel in found:
            wrong = defects(kernel)
            # LLVM may leave out trailing arguments that are never read; it must not want more.
            if kernel.argument_bytes > _aligned(wanted[kernel.name]):
                wrong.append(f"{kernel.argument_bytes} bytes of arguments")
            _require(not wrong, name, kernel.name, wrong)


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


def _require(condition: bool, arch: str, what: str, wrong: list[str]) -> None:
    if not condition:
        raise CompileError(
            f"the code for {arch}: {what}: {', '.join(wrong)}",
            wanted="code that fits the chip",
            fix="give the kernel smaller tiles, or leave the architecture out",
        )
