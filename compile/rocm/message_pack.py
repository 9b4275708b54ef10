"""Read MessagePack, the form of the metadata in AMD code objects.

Source: the MessagePack specification. Nesting and sizes are bounded; anything else is an error.
"""

from __future__ import annotations

import struct

from ferrylm.errors import ArtifactError

Value = None | bool | int | float | str | bytes | list["Value"] | dict[str, "Value"]

_MAX_DEPTH = 16
_NUMBERS = {
    **{0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"},
    **{0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"},
}
_STRINGS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_BINARIES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
_ARRAYS = {0xDC: ">H", 0xDD: ">I"}
_MAPS = {0xDE: ">H", 0xDF: ">I"}
_CONSTANTS: dict[int, Value] = {0xC0: None, 0xC2: False, 0xC3: True}


def read_message_pack(data: bytes) -> Value:
    """Return the one value that `data` holds. Raises ArtifactError."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise _malformed(f"{len(data) - reader.at} bytes too many")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def value(self, depth: int) -> Value:
        if depth > _MAX_DEPTH:
            raise _malformed("values nested too deep")
        tag = self._take(1)[0]
        if tag < 0x80 or tag >= 0xE0:
            return tag if tag < 0x80 else tag - 0x100
        if tag < 0x90:
            return self._map(tag & 15, depth)
        if tag < 0xA0:
            return self._array(tag & 15, depth)
        if tag < 0xC0:
            return self._text(tag & 31)
        return self._tagged(tag, depth)

    def _tagged(self, tag: int, depth: int) -> Value:
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _NUMBERS:
            number: int | float = self._number(_NUMBERS[tag])
            return number
        if tag in _STRINGS:
            return self._text(int(self._number(_STRINGS[tag])))
        if tag in _BINARIES:
            return self._take(int(self._number(_BINARIES[tag])))
        if tag in _ARRAYS:
            return self._array(int(self._number(_ARRAYS[tag])), depth)
        if tag in _MAPS:
            return self._map(int(self._number(_MAPS[tag])), depth)
        raise _malformed(f"the tag {tag:#x}")

    def _array(self, count: int, depth: int) -> Value:
        return [self.value(depth + 1) for _ in range(self._plausible(count))]

    def _map(self, count: int, depth: int) -> Value:
        found: dict[str, Value] = {}
        for _ in range(self._plausible(count)):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise _malformed("a key that is no string")
            found[key] = self.value(depth + 1)
        return found

    def _plausible(self, count: int) -> int:
        if count > len(self.data) - self.at:
            raise _malformed(f"{count} elements in {len(self.data) - self.at} bytes")
        return count

    def _number(self, form: str) -> int | float:
        number: int | float = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return number

    def _text(self, size: int) -> str:
        return self._take(size).decode(errors="replace")

    def _take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise _malformed("a truncated value")
        self.at += size
        return self.data[self.at - size : self.at]


def _malformed(found: str) -> ArtifactError:
    return ArtifactError(
        f"metadata of a code object with {found}",
        wanted="MessagePack as LLVM writes it",
        fix="compile the model again",
    )
