"""A relocatable ELF file with one read-only symbol: how bytes get into a shared library.

Layout: System V ABI, "Object Files"; five sections (null, .rodata, .symtab, .strtab, .shstrtab).
"""

from __future__ import annotations

import struct

_MACHINES = {"x86_64": 62, "aarch64": 183}
_HEADER_BYTES, _SECTION_BYTES, _SYMBOL_BYTES = 64, 64, 24
_SECTION_NAMES = b"\0.rodata\0.symtab\0.strtab\0.shstrtab\0"
_ALIGNMENT_BYTES = 16


def object_with_bytes(symbol: str, content: bytes, machine: str) -> bytes:
    """Return an object file for `machine` that defines the global `symbol` as `content`."""
    names = b"\0" + symbol.encode() + b"\0"
    # A symbol table begins with an empty symbol; ours is global data in section 1.
    symbols = bytes(_SYMBOL_BYTES) + struct.pack("<IBBHQQ", 1, 0x11, 0, 1, 0, len(content))
    parts = [(content, _ALIGNMENT_BYTES), (symbols, 8), (names, 1), (_SECTION_NAMES, 1)]
    body = bytearray()
    offsets = []
    for part, alignment in parts:
        body += bytes(-(_HEADER_BYTES + len(body)) % alignment)
        offsets.append(_HEADER_BYTES + len(body))
        body += part
    body += bytes(-(_HEADER_BYTES + len(body)) % 8)
    table_offset = _HEADER_BYTES + len(body)
    sections = bytes(_SECTION_BYTES)
    # name, type, flags, offset, size, link, info, alignment, entry size
    fields = [
        (b".rodata", 1, 2, 0, 0, _ALIGNMENT_BYTES, 0),
        (b".symtab", 2, 0, 3, 1, 8, _SYMBOL_BYTES),
        (b".strtab", 3, 0, 0, 0, 1, 0),
        (b".shstrtab", 3, 0, 0, 0, 1, 0),
    ]
    for (name, kind, flags, link, info, alignment, entry), (part, _), offset in zip(
        fields, parts, offsets, strict=True
    ):
        sections += struct.pack(
            "<IIQQQQIIQQ",
            *(_SECTION_NAMES.index(name + b"\0"), kind, flags, 0, offset),
            *(len(part), link, info, alignment, entry),
        )
    return _header(machine, table_offset) + bytes(body) + sections


def _header(machine: str, table_offset: int) -> bytes:
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little endian, version 1
    return identity + struct.pack(
        "<HHIQQQIHHHHHH",
        *(1, _MACHINES[machine], 1, 0, 0, table_offset, 0),
        *(_HEADER_BYTES, 0, 0, _SECTION_BYTES, 5, 4),
    )
