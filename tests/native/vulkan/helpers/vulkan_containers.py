"""Small kernels in SPIR-V assembly, and the containers that hold them."""

from __future__ import annotations

import json
import struct
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

KERNELS = Path(__file__).parents[1] / "kernels"
THREADS = 64  # of every kernel's workgroup
MAGIC = b"FERRYVK1"
PREFIX_BYTES = 12


@dataclass(frozen=True)
class Kernel:
    """A kernel's entry in a container's header, and its SPIR-V."""

    name: str
    arguments: tuple[str, ...]
    access: tuple[str, ...]
    launch: tuple[str, ...] = ("blockIdx.x", "threadIdx.x")
    subgroup_size: int = 0
    argument_buffer: bool = False
    requires: tuple[str, ...] = ()
    source: str = ""  # the file's name, where it is not the kernel's

    @property
    def spirv(self) -> bytes:
        return assemble(self.source or self.name)

    def header(self, offset: int) -> dict[str, Any]:
        return {
            "name": self.name,
            "offset": offset,
            "bytes": len(self.spirv),
            "arguments": list(self.arguments),
            "access": list(self.access),
            "launch": list(self.launch),
            "local_size": [THREADS, 1, 1],
            "subgroup_size": self.subgroup_size,
            "shared_bytes": 0,
            "argument_buffer": self.argument_buffer,
            "spirv_version": "1.5",
            "requires": list(self.requires),
        }


ADD = Kernel("add", ("handle",) * 3 + ("int32",), ("r", "r", "w", ""))
INCREMENT = Kernel("increment", ("handle", "int32", "float32"), ("rw", "", ""))
SHIFT = Kernel("shift", ("handle", "handle", "int32"), ("r", "w", ""))
SPIN = Kernel(
    "spin",
    ("handle", "int32"),
    ("rw", ""),
    ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x"),
)
MANY = Kernel("many", ("handle",) * 19 + ("int32",), ("r",) * 18 + ("w", ""), argument_buffer=True)
LANES = Kernel("lanes", ("handle",), ("w",))


@cache
def assemble(name: str) -> bytes:
    """Return the SPIR-V of a file of the folder kernels."""
    tool = Path(sysconfig.get_path("scripts")) / "spirv-as"
    source = KERNELS / f"{name}.spvasm"
    run = subprocess.run(
        [str(tool), "--target-env", "spv1.5", str(source), "-o", "-"],
        check=True,
        capture_output=True,
    )
    return run.stdout


def container(kernels: Sequence[Kernel], changes: Mapping[str, Any] | None = None) -> bytes:
    """Return a container; `changes` replace keys of the first kernel's header entry."""
    offset = 0
    length = 0
    while True:  # offsets depend on the header's length, which depends on the offsets' digits
        start = _aligned(PREFIX_BYTES + length)
        entries = []
        offset = start
        for kernel in kernels:
            entries.append(kernel.header(offset))
            offset += _aligned(len(kernel.spirv))
        entries[0].update(changes or {})
        header = json.dumps({"kernels": entries}, sort_keys=True).encode()
        if len(header) == length:
            break
        length = len(header)
    body = b"".join(_padded(kernel.spirv) for kernel in kernels)
    return _padded(MAGIC + struct.pack("<I", len(header)) + header) + body


def module(*kernels: Kernel) -> Any:
    """Return a module that holds the kernels."""
    from ferrylm.runtime import vulkan_backend

    return vulkan_backend.call("module_from_bytes", container(kernels))


def groups(count: int) -> int:
    """Return how many workgroups `count` threads need."""
    return -(-count // THREADS)


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


def _padded(data: bytes) -> bytes:
    return data + bytes(_aligned(len(data)) - len(data))
