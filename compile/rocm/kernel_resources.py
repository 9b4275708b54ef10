"""What the kernels of a bundle need of the chip, read from the machine code itself.

For `ferry inspect --isa`, for the checks that a build ends with, and for tests. Two sources in a
code object must agree: the metadata note, for the loader, and the kernel descriptor, which the
hardware's command processor reads.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ferrylm.compile.rocm.architectures import ARCHITECTURES, Architecture
from ferrylm.compile.rocm.bundle import read_bundle
from ferrylm.compile.rocm.elf import CodeObjectFile
from ferrylm.compile.rocm.message_pack import Value, read_message_pack
from ferrylm.errors import ArtifactError

_METADATA_NOTE = 32  # NT_AMDGPU_METADATA, owner AMDGPU
_DESCRIPTOR_BYTES = 64
_WAVE32_BIT = 1 << 10  # KERNEL_CODE_PROPERTIES, ENABLE_WAVEFRONT_SIZE32


@dataclass(frozen=True)
class KernelResources:
    """One kernel on one architecture; sizes are per block or per lane as their names say."""

    architecture: str
    name: str
    wave: int
    block_threads: int
    vector_registers: int
    accumulation_registers: int
    scalar_registers: int
    vector_spills: int
    scalar_spills: int
    lds_bytes: int
    private_bytes: int
    argument_bytes: int
    code_bytes: int


def kernel_resources(bundle: bytes) -> list[KernelResources]:
    """Return every kernel of every code object in a bundle, in its order.

    Raises ArtifactError.
    """
    found = []
    for name, code in read_bundle(bundle).items():
        found += code_object_resources(name, code)
    return found


def code_object_resources(architecture: str, code: bytes) -> list[KernelResources]:
    """Return the kernels of one code object. Raises ArtifactError."""
    file = CodeObjectFile(code)
    symbols = {symbol.name: symbol for symbol in file.symbols()}
    found = []
    for kernel in _metadata(file):
        name, descriptor_name = str(kernel.get(".name")), str(kernel.get(".symbol"))
        if name not in symbols or descriptor_name not in symbols:
            raise _contradiction(f"metadata of {name}, but no such symbol")
        resources = KernelResources(
            architecture=architecture,
            name=name,
            wave=_number(kernel, ".wavefront_size"),
            block_threads=_number(kernel, ".max_flat_workgroup_size"),
            vector_registers=_number(kernel, ".vgpr_count"),
            accumulation_registers=_number(kernel, ".agpr_count"),
            scalar_registers=_number(kernel, ".sgpr_count"),
            vector_spills=_number(kernel, ".vgpr_spill_count"),
            scalar_spills=_number(kernel, ".sgpr_spill_count"),
            lds_bytes=_number(kernel, ".group_segment_fixed_size"),
            private_bytes=_number(kernel, ".private_segment_fixed_size"),
            argument_bytes=_number(kernel, ".kernarg_segment_size"),
            code_bytes=symbols[name].size,
        )
        descriptor = file.at_address(symbols[descriptor_name].address, _DESCRIPTOR_BYTES)
        _compare(resources, descriptor)
        found.append(resources)
    return found


def defects(resources: KernelResources) -> list[str]:
    """Return what would keep the kernel from running on its architecture."""
    arch = ARCHITECTURES[resources.architecture]
    found = []
    if resources.wave != arch.wave:
        found.append(f"waves of {resources.wave} instead of {arch.wave}")
    if resources.lds_bytes > arch.lds_bytes:
        found.append(f"{resources.lds_bytes} bytes of LDS, more than {arch.lds_bytes}")
    if resources.vector_registers > arch.vector_registers:
        found.append(f"{resources.vector_registers} vector registers")
    return found


def spills(resources: KernelResources) -> list[str]:
    """Return what makes the kernel slow: registers and arrays that lie in memory.

    Scalar registers that LLVM keeps in lanes of vector registers take no memory and do not count.
    """
    found = []
    if resources.vector_spills or (resources.scalar_spills and resources.private_bytes):
        found.append(f"{resources.vector_spills} + {resources.scalar_spills} spilled registers")
    if resources.private_bytes:
        found.append(f"{resources.private_bytes} bytes of private memory per lane")
    return found


def wrong_header(code: bytes, arch: Architecture) -> list[str]:
    """Return in what the ELF header differs from what the architecture wants."""
    file = CodeObjectFile(code)
    found = []
    if file.machine != arch.machine:
        found.append(f"the processor {file.machine:#x} instead of {arch.machine:#x}")
    if file.code_object_version != arch.code_object_version:
        found.append(f"code object version {file.code_object_version}")
    if bool(file.generic_version) != arch.is_generic:
        found.append(f"generic version {file.generic_version}")
    return found


def _metadata(file: CodeObjectFile) -> list[Mapping[str, Value]]:
    for owner, kind, content in file.notes():
        if owner == "AMDGPU" and kind == _METADATA_NOTE:
            root = read_message_pack(content)
            kernels = root.get("amdhsa.kernels") if isinstance(root, dict) else None
            if isinstance(kernels, list):
                return [kernel for kernel in kernels if isinstance(kernel, dict)]
    raise _contradiction("no metadata of kernels")


def _number(kernel: Mapping[str, Value], key: str) -> int:
    value = kernel.get(key, 0)
    if not isinstance(value, int) or value < 0:
        raise _contradiction(f"{key} of {value!r}")
    return value


def _compare(resources: KernelResources, descriptor: bytes) -> None:
    lds, private, arguments = struct.unpack_from("<III", descriptor)
    (properties,) = struct.unpack_from("<H", descriptor, 56)
    wave = 32 if properties & _WAVE32_BIT else 64
    said = (resources.lds_bytes, resources.private_bytes, resources.argument_bytes, resources.wave)
    if said != (lds, private, arguments, wave):
        raise _contradiction(f"metadata {said} and descriptor {(lds, private, arguments, wave)}")


def _contradiction(found: str) -> ArtifactError:
    return ArtifactError(
        f"an AMD code object with {found}",
        wanted="metadata and kernel descriptors that agree",
        fix="compile the model again",
    )
