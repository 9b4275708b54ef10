"""TVM's data types as LLVM's, and values as 32-bit words, which is what lanes exchange."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SCALARS = {
    "float32": "float",
    "float16": "half",
    "int32": "i32",
    "uint32": "i32",
    "int16": "i16",
    "uint16": "i16",
}
_DTYPE = re.compile(r"(float|int|uint)(16|32)(?:x(\d+))?")


@dataclass(frozen=True)
class ValueType:
    """A scalar or vector type of 16-bit or 32-bit numbers."""

    kind: str
    bits: int
    lanes: int

    @classmethod
    def parse(cls, dtype: str) -> ValueType | None:
        """Return the type of a TVM dtype string, None when lanes cannot exchange it."""
        found = _DTYPE.fullmatch(dtype)
        if found is None:
            return None
        parsed = cls(found[1], int(found[2]), int(found[3] or 1))
        return parsed if parsed.lanes == 1 or parsed.total_bits % 32 == 0 else None

    @property
    def total_bits(self) -> int:
        """Return the size of a value."""
        return self.bits * self.lanes

    @property
    def words(self) -> int:
        """Return how many 32-bit words hold a value."""
        return -(-self.total_bits // 32)

    @property
    def llvm(self) -> str:
        """Return LLVM's name of the type."""
        scalar = _SCALARS[f"{self.kind}{self.bits}"]
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    @property
    def suffix(self) -> str:
        """Return how LLVM's overloaded intrinsics name the type."""
        scalar = f"f{self.bits}" if self.kind == "float" else f"i{self.bits}"
        return scalar if self.lanes == 1 else f"v{self.lanes}{scalar}"


def to_words(value: ValueType, source: str, prefix: str) -> tuple[list[str], list[str]]:
    """Return lines that take `source` apart, and the names of its 32-bit words."""
    if value.total_bits == 16:
        lines = [
            f"%{prefix}.bits = bitcast {value.llvm} {source} to i16",
            f"%{prefix}.0 = zext i16 %{prefix}.bits to i32",
        ]
        return lines, [f"%{prefix}.0"]
    if value.words == 1:
        return [f"%{prefix}.0 = bitcast {value.llvm} {source} to i32"], [f"%{prefix}.0"]
    vector = f"<{value.words} x i32>"
    lines = [f"%{prefix}.all = bitcast {value.llvm} {source} to {vector}"]
    for word in range(value.words):
        lines.append(f"%{prefix}.{word} = extractelement {vector} %{prefix}.all, i32 {word}")
    return lines, [f"%{prefix}.{word}" for word in range(value.words)]


def from_words(value: ValueType, words: list[str], result: str) -> list[str]:
    """Return lines that put 32-bit words together as `%result`."""
    if value.total_bits == 16:
        return [
            f"%{result}.bits = trunc i32 {words[0]} to i16",
            f"%{result} = bitcast i16 %{result}.bits to {value.llvm}",
        ]
    if value.words == 1:
        return [f"%{result} = bitcast i32 {words[0]} to {value.llvm}"]
    vector = f"<{value.words} x i32>"
    lines = []
    so_far = "poison"
    for index, word in enumerate(words):
        lines.append(
            f"%{result}.{index} = insertelement {vector} {so_far}, i32 {word}, i32 {index}"
        )
        so_far = f"%{result}.{index}"
    return [*lines, f"%{result} = bitcast {vector} {so_far} to {value.llvm}"]
