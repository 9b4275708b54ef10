"""The container in which kernels travel: a JSON header and SPIR-V modules, see docs/spirv.md."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

from ferrylm.compile.spirv.kernel import Kernel
from ferrylm.compile.spirv.launch import PUSHED_ARGUMENTS

MAGIC = b"FERRYVK1"
_ALIGNMENT_BYTES = 8


def write_container(kernels: Sequence[Kernel]) -> bytes:
    """Return the container of kernels, in the order of their names."""
    kernels = sorted(kernels, key=lambda kernel: kernel.name)
    modules = list(dict.fromkeys(kernel.spirv for kernel in kernels))
    header_bytes = 0
    while True:
        # The header holds offsets, whose digits move it, so its size is found by trying.
        offset = _aligned(len(MAGIC) + 4 + header_bytes)
        header = _header(kernels, _offsets(modules, offset))
        if len(header) == header_bytes:
            break
        header_bytes = len(header)
    start = MAGIC + struct.pack("<I", len(header)) + header
    start += bytes(_aligned(len(start)) - len(start))
    return start + b"".join(
        module + bytes(_aligned(len(module)) - len(module)) for module in modules
    )


def _offsets(modules: Sequence[bytes], first: int) -> dict[bytes, int]:
    offsets = {}
    for module in modules:
        offsets[module] = first
        first += _aligned(len(module))
    return offsets


def _header(kernels: Sequence[Kernel], offsets: dict[bytes, int]) -> bytes:
    entries = [
        {
            "name": kernel.name,
            "offset": offsets[kernel.spirv],
            "bytes": len(kernel.spirv),
            "arguments": kernel.arguments,
            "access": kernel.access,
            "launch": kernel.launch,
            "local_size": kernel.local_size,
            "subgroup_size": kernel.subgroup_size,
            "shared_bytes": kernel.shared_bytes,
            "argument_buffer": len(kernel.arguments) > PUSHED_ARGUMENTS,
            "spirv_version": kernel.spirv_version,
            "requires": kernel.requires,
            **dict(kernel.weights),
        }
        for kernel in kernels
    ]
    return json.dumps({"kernels": entries}, sort_keys=True, separators=(",", ":")).encode()


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
