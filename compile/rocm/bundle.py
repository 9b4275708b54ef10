"""Write and read a HIP offload bundle: code objects of several chips in one file.

Layout (llvm-project, clang/docs/ClangOffloadBundler.rst): 24 bytes of magic, u64 count, per entry
u64 offset, u64 size, u64 length of the id and the id, then the code objects. The first entry is the
host's and empty. HIP wants code objects at multiples of 4096.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from ferrylm.errors import ArtifactError

MAGIC = b"__CLANG_OFFLOAD_BUNDLE__"
ALIGNMENT_BYTES = 4096
_HOST = "host-x86_64-unknown-linux-gnu-"
_DEVICE = "hipv4-amdgcn-amd-amdhsa--"
_MAX_ENTRIES = 256
_MAX_ID_BYTES = 256


def write_bundle(code_objects: Mapping[str, bytes]) -> bytes:
    """Return the bundle of code objects, by architecture, in the mapping's order."""
    entries = [(_HOST, b""), *((_DEVICE + name, code) for name, code in code_objects.items())]
    header_bytes = len(MAGIC) + 8 + sum(24 + len(name) for name, _ in entries)
    offset = _aligned(header_bytes)
    header = MAGIC + struct.pack("<Q", len(entries))
    body = bytearray()
    for name, code in entries:
        header += struct.pack("<QQQ", offset + len(body), len(code), len(name)) + name.encode()
        body += code + bytes(_aligned(len(code)) - len(code))
    return header + bytes(offset - header_bytes) + bytes(body)


def read_bundle(data: bytes) -> Mapping[str, bytes]:
    """Return the code objects of a bundle by architecture; every number in it may lie.

    Raises ArtifactError.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise _malformed("no magic")
    (count,) = _unpack("<Q", data, len(MAGIC))
    if count > _MAX_ENTRIES:
        raise _malformed(f"{count} entries")
    position = len(MAGIC) + 8
    found: dict[str, bytes] = {}
    for _ in range(count):
        offset, size, id_bytes = _unpack("<QQQ", data, position)
        position += 24
        if id_bytes > _MAX_ID_BYTES or position + id_bytes > len(data):
            raise _malformed(f"an id of {id_bytes} bytes")
        name = data[position : position + id_bytes].decode("ascii", errors="replace")
        position += id_bytes
        if offset > len(data) or size > len(data) - offset:
            raise _malformed(f"{size} bytes at {offset} for {name}")
        if name.startswith(_DEVICE):
            if offset % ALIGNMENT_BYTES:
                raise _malformed(f"{name} at {offset}, no multiple of {ALIGNMENT_BYTES}")
            found[name[len(_DEVICE) :]] = data[offset : offset + size]
    return MappingProxyType(found)


def bundles_in(data: bytes) -> list[bytes]:
    """Return the bundles that a library or any other bytes hold.

    Raises ArtifactError for one that is damaged.
    """
    found = []
    start = data.find(MAGIC)
    while start >= 0:
        bundle = data[start:]
        read_bundle(bundle)
        end = _end(bundle)
        found.append(bundle[:end])
        start = data.find(MAGIC, start + max(end, len(MAGIC)))
    return found


def _end(bundle: bytes) -> int:
    """Return where the last code object ends, with the zeros behind it, of a bundle in order."""
    (count,) = _unpack("<Q", bundle, len(MAGIC))
    position, end = len(MAGIC) + 8, 0
    for _ in range(count):
        offset, size, id_bytes = _unpack("<QQQ", bundle, position)
        position += 24 + id_bytes
        end = max(end, offset + _aligned(size))
    return end


def _unpack(form: str, data: bytes, position: int) -> tuple[int, ...]:
    if position + struct.calcsize(form) > len(data):
        raise _malformed("a truncated header")
    return struct.unpack_from(form, data, position)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _malformed(found: str) -> ArtifactError:
    return ArtifactError(
        f"a HIP bundle with {found}",
        wanted="a bundle of AMD code objects",
        fix="compile the model again",
    )
