"""What a library's machine code is, chip by chip, and what is wrong with it.

Read from the library alone, whoever built it, for `scripts/check_chips.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.compile.cuda.resources import entry_bytes, find_fat_binary
from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm.bundle import bundles_in, read_bundle
from ferrylm.compile.rocm.disassembly import disassemble, find_disassembler
from ferrylm.compile.rocm.kernel_resources import (
    KernelResources,
    code_object_resources,
    defects,
    spills,
    wrong_header,
)
from ferrylm.errors import CompileError


@dataclass(frozen=True)
class ChipCode:
    """The code for one architecture; what a kind does not tell is 0."""

    architecture: str
    size_bytes: int
    kernels: int = 0
    wave: int = 0
    vector_registers: int = 0  # the most of any kernel
    lds_bytes: int = 0  # of a workgroup, the most of any kernel
    argument_bytes: int = 0  # the most of any kernel
    problems: tuple[str, ...] = ()


def chip_code(kind: str, library: bytes, *, listing: bool = True) -> list[ChipCode]:
    """Return the code of a CUDA or ROCm library; none of other kinds.

    With `listing` AMD's is disassembled, where an llvm-objdump is installed. Raises ArtifactError,
    CompileError where NVIDIA's tools are absent.
    """
    if kind == "cuda":
        return [ChipCode(*entry) for entry in entry_bytes(find_fat_binary(library)).items()]
    if kind != "rocm":
        return []
    disassembler = find_disassembler() if listing else None
    return [
        _amd_code(name, code, disassembler)
        for bundle in bundles_in(library)
        for name, code in read_bundle(bundle).items()
    ]


def _amd_code(name: str, code: bytes, disassembler: str | None) -> ChipCode:
    arch = ARCHITECTURES[name]
    kernels = code_object_resources(name, code)
    problems = wrong_header(code, arch)
    for kernel in kernels:
        problems += [f"{kernel.name}: {found}" for found in (*defects(kernel), *spills(kernel))]
    if disassembler is not None:
        problems += _unreadable(code, name, kernels, disassembler)
    return ChipCode(
        name,
        len(code),
        len(kernels),
        max((kernel.wave for kernel in kernels), default=0),
        max((kernel.vector_registers for kernel in kernels), default=0),
        max((kernel.lds_bytes for kernel in kernels), default=0),
        max((kernel.argument_bytes for kernel in kernels), default=0),
        tuple(problems),
    )


def _unreadable(
    code: bytes, name: str, kernels: list[KernelResources], disassembler: str
) -> list[str]:
    try:
        listed = disassemble(code, ARCHITECTURES[name], disassembler)
    except CompileError as error:
        return [error.found]
    return [
        f"{kernel.name} never ends"
        for kernel in kernels
        if "s_endpgm" not in listed.get(kernel.name, [])
    ]
