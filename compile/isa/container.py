"""Find the Vulkan kernels in a library file, without loading it.

A Vulkan module is a container: "FERRYVK1", the length of a header, the header as JSON, and SPIR-V
modules at the offsets it names (docs/steam-deck.md). The linker puts it into a library unchanged.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ferrylm.errors import ArtifactError
from ferrylm.runtime.strict_json import JsonValue, loads

MAGIC = b"FERRYVK1"
SPIRV_MAGIC = 0x07230203
ARGUMENT_BYTES = 8

_MOST_HEADER_BYTES = 64 << 20


@dataclass(frozen=True)
class Kernel:
    """One compute shader of a container; `subgroup` 0 means that it runs with any width."""

    name: str
    spirv: bytes
    subgroup: int
    push_constant_bytes: int
    requires: tuple[str, ...] = ()
    loop_weights: int | None = None  # weights that a lane decodes in one turn of its hot loop
    lane_weights: int | None = None  # and in the whole kernel


def find_kernels(data: bytes, what: str) -> list[Kernel]:
    """Return the kernels of every container in a file's bytes, in the file's order.

    Raises ArtifactError where something begins like a container and is none.
    """
    kernels, at = [], data.find(MAGIC)
    while at >= 0:
        found = _read_container(data[at:], what)
        kernels += found
        at = data.find(MAGIC, at + len(MAGIC))
    return kernels


def _read_container(data: bytes, what: str) -> list[Kernel]:
    start = len(MAGIC) + 4
    if len(data) < start:
        raise _malformed(what, "ends within its header")
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    if not 0 < length <= min(len(data) - start, _MOST_HEADER_BYTES):
        raise _malformed(what, f"says its header has {length} bytes")
    header = loads(
        data[start : start + length],
        what=f"the Vulkan container in {what}",
        max_bytes=_MOST_HEADER_BYTES,
    )
    kernels = header.get("kernels") if isinstance(header, dict) else None
    if not isinstance(kernels, list):
        raise _malformed(what, "has no list of kernels")
    return [_read_kernel(data, entry, what) for entry in kernels]


def _read_kernel(data: bytes, entry: JsonValue, what: str) -> Kernel:
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
        raise _malformed(what, "has a kernel without a name")
    arguments, requires = entry.get("arguments"), entry.get("requires", [])
    if not isinstance(arguments, list) or not isinstance(requires, list):
        raise _malformed(what, f"does not say what kernel {name} takes")
    offset, size = _count(entry, "offset", name, what), _count(entry, "bytes", name, what)
    spirv = data[offset : offset + size]
    if len(spirv) != size or size % 4 or size < 20:
        raise _malformed(what, f"has {len(spirv)} of {size} bytes of kernel {name}")
    if struct.unpack_from("<I", spirv)[0] != SPIRV_MAGIC:
        raise _malformed(what, f"has no SPIR-V at the offset of kernel {name}")
    indirect = entry.get("argument_buffer") is True
    return Kernel(
        name=name,
        spirv=spirv,
        subgroup=_count(entry, "subgroup_size", name, what),
        push_constant_bytes=ARGUMENT_BYTES * (1 if indirect else len(arguments)),
        requires=tuple(feature for feature in requires if isinstance(feature, str)),
        loop_weights=_count(entry, "loop_weights", name, what, least=1, default=0) or None,
        lane_weights=_count(entry, "lane_weights", name, what, least=1, default=0) or None,
    )


def _count(
    entry: dict[str, JsonValue],
    key: str,
    name: str,
    what: str,
    *,
    least: int = 0,
    default: int | None = None,
) -> int:
    if default is not None and key not in entry:
        return default
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _malformed(what, f"has no {key} for kernel {name}")
    return value


def _malformed(what: str, problem: str) -> ArtifactError:
    return ArtifactError(
        f"the Vulkan container in {what} {problem}",
        wanted="a container as ferry compile writes it",
        fix="compile or fetch the library again",
    )
