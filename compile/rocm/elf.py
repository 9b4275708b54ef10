"""Read what AMD code objects say of themselves: ELF header, notes, symbols, bytes at an address.

Only the 64-bit little-endian form that HIP loads. Every number may lie. Sources: the System V ABI,
LLVM's AMDGPUUsage page, "ELF Code Object".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ferrylm.errors import ArtifactError

_MAGIC = b"\x7fELF\x02\x01"
_AMDGPU_MACHINE = 224
_SYMBOLS_SECTION = 11  # SHT_DYNSYM
_NOTE_SECTION = 7  # SHT_NOTE
_NO_BITS = 8  # SHT_NOBITS
_MAX_SECTIONS = 65536
_MACHINE_MASK = 0xFF
_GENERIC_SHIFT = 24


@dataclass(frozen=True)
class Section:
    """A section header's facts."""

    kind: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True)
class Symbol:
    """A dynamic symbol."""

    name: str
    address: int
    size: int
    kind: int  # 1 data, 2 function


class CodeObjectFile:
    """A parsed AMD code object."""

    def __init__(self, data: bytes) -> None:
        """Read the headers. Raises ArtifactError."""
        self._data = data
        if data[:6] != _MAGIC or len(data) < 64:
            raise _malformed("no 64-bit ELF header")
        (machine,) = self._unpack("<H", 18)
        if machine != _AMDGPU_MACHINE:
            raise _malformed(f"the machine {machine}")
        self.abi_version = data[8]
        (self.flags,) = self._unpack("<I", 48)
        self.sections = tuple(self._sections())

    @property
    def machine(self) -> int:
        """Return EF_AMDGPU_MACH, the processor."""
        return self.flags & _MACHINE_MASK

    @property
    def generic_version(self) -> int:
        """Return the version of a family's code, 0 for native code."""
        return self.flags >> _GENERIC_SHIFT

    @property
    def code_object_version(self) -> int:
        """Return 5 or 6: EI_ABIVERSION is two less."""
        return self.abi_version + 2

    def symbols(self) -> tuple[Symbol, ...]:
        """Return the dynamic symbols that have a name."""
        found = []
        for section in self.sections:
            if section.kind != _SYMBOLS_SECTION or section.link >= len(self.sections):
                continue
            names = self._contents(self.sections[section.link])
            table = self._contents(section)
            for at in range(0, len(table) - 23, 24):
                name_at, info, _, _, value, size = struct.unpack_from("<IBBHQQ", table, at)
                end = names.find(b"\0", name_at)
                if name_at and end > name_at:
                    name = names[name_at:end].decode(errors="replace")
                    found.append(Symbol(name, value, size, info & 15))
        return tuple(found)

    def notes(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield each note's owner, type and contents."""
        for section in self.sections:
            if section.kind != _NOTE_SECTION:
                continue
            data = self._contents(section)
            at = 0
            while at + 12 <= len(data):
                name_bytes, content_bytes, kind = struct.unpack_from("<III", data, at)
                start = at + 12 + _aligned4(name_bytes)
                end = start + content_bytes
                if end > len(data):
                    raise _malformed("a truncated note")
                owner = data[at + 12 : at + 12 + name_bytes].rstrip(b"\0")
                yield owner.decode(errors="replace"), kind, data[start:end]
                at = start + _aligned4(content_bytes)

    def at_address(self, address: int, size: int) -> bytes:
        """Return bytes as they lie in memory. Raises ArtifactError outside of the sections."""
        for section in self.sections:
            inside = section.address <= address and address + size <= section.address + section.size
            if section.address and inside and section.kind != _NO_BITS:
                start = section.offset + address - section.address
                found = self._data[start : start + size]
                if len(found) == size:
                    return found
        raise _malformed(f"nothing at address {address:#x}")

    def _sections(self) -> Iterator[Section]:
        (table,) = self._unpack("<Q", 40)
        entry_bytes, count = self._unpack("<HH", 58)
        if (count and entry_bytes < 64) or count > _MAX_SECTIONS:
            raise _malformed(f"{count} section headers of {entry_bytes} bytes")
        for index in range(count):
            fields = self._unpack("<IIQQQQI", table + index * entry_bytes)
            yield Section(fields[1], fields[3], fields[4], fields[5], fields[6])

    def _contents(self, section: Section) -> bytes:
        if section.offset + section.size > len(self._data):
            raise _malformed("a section beyond the end")
        return self._data[section.offset : section.offset + section.size]

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        if at + struct.calcsize(form) > len(self._data):
            raise _malformed("a header beyond the end")
        return struct.unpack_from(form, self._data, at)


def _aligned4(size: int) -> int:
    return -(-size // 4) * 4


def _malformed(found: str) -> ArtifactError:
    return ArtifactError(
        f"an AMD code object with {found}",
        wanted="a shared object for an AMD GPU",
        fix="compile the model again",
    )
