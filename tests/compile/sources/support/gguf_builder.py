"""Write small GGUF files, right or wrong in any one place, from the format's description."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_PACK = {
    U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i",
    F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d",
}  # fmt: skip
GGML_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10,
    "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "IQ4_NL": 20, "BF16": 30,
}  # fmt: skip


@dataclass(frozen=True)
class Typed:
    """A metadata value with its GGUF type; arrays name the type of their elements."""

    kind: int
    value: Any
    element_kind: int = U32


@dataclass(frozen=True)
class GgufTensor:
    """A tensor to write: dimensions in file order, contiguous first. `offset` None: the next."""

    name: str
    dimensions: tuple[int, ...]
    type_number: int
    data: bytes
    offset: int | None = None


@dataclass
class GgufFile:
    """A GGUF file in parts; None in a count means the true one."""

    metadata: list[tuple[str, Typed]]
    tensors: list[GgufTensor]
    magic: bytes = b"GGUF"
    version: int = 3
    tensor_count: int | None = None
    key_count: int | None = None
    alignment: int = 32
    tail: bytes = field(default=b"")
    cut_bytes: int = 0

    def to_bytes(self) -> bytes:
        """Write the file."""
        tensor_count = len(self.tensors) if self.tensor_count is None else self.tensor_count
        key_count = len(self.metadata) if self.key_count is None else self.key_count
        header = self.magic + struct.pack("<IQQ", self.version, tensor_count, key_count)
        for key, typed in self.metadata:
            header += string(key.encode()) + struct.pack("<I", typed.kind) + encode_value(typed)
        data = b""
        for tensor in self.tensors:
            offset = len(data) if tensor.offset is None else tensor.offset
            header += string(tensor.name.encode()) + struct.pack("<I", len(tensor.dimensions))
            header += b"".join(struct.pack("<Q", n) for n in tensor.dimensions)
            header += struct.pack("<IQ", tensor.type_number, offset)
            data += padded(tensor.data, self.alignment)
        whole = padded(header, self.alignment) + data + self.tail
        return whole[: len(whole) - self.cut_bytes]


def string(raw: bytes) -> bytes:
    """Encode a string: length, bytes."""
    return struct.pack("<Q", len(raw)) + raw


def padded(raw: bytes, alignment: int) -> bytes:
    """Fill up with zeros to a multiple of the alignment."""
    return raw + b"\0" * (-len(raw) % alignment)


def encode_value(typed: Typed) -> bytes:
    """Encode a metadata value without its type."""
    if isinstance(typed.value, bytes):
        return typed.value  # ready made, for files that are wrong
    if typed.kind == STRING:
        return string(typed.value.encode())
    if typed.kind == ARRAY:
        head = struct.pack("<IQ", typed.element_kind, len(typed.value))
        return head + b"".join(encode_value(Typed(typed.element_kind, v)) for v in typed.value)
    return struct.pack(_PACK[typed.kind], typed.value)


def float_tensor(name: str, values: np.ndarray) -> GgufTensor:
    """Make an F32 tensor of an array [rows, columns] or [n]."""
    return GgufTensor(name, tuple(reversed(values.shape)), 0, values.astype("<f4").tobytes())


def encoded_tensor(name: str, encoding: str, columns: int, raw: np.ndarray) -> GgufTensor:
    """Make a tensor of encoded rows, uint8 [rows, row_bytes]."""
    return GgufTensor(name, (columns, len(raw)), GGML_TYPES[encoding], raw.tobytes())


def strings(values: Sequence[str]) -> Typed:
    """Make an array of strings."""
    return Typed(ARRAY, list(values), STRING)


def plain(values: Mapping[str, Any]) -> list[tuple[str, Typed]]:
    """Type values as llama.cpp's converter does: U32, F32, BOOL, STRING, arrays of these."""
    return [
        (key, value if isinstance(value, Typed) else _typed(value)) for key, value in values.items()
    ]


def _typed(value: Any) -> Typed:
    if isinstance(value, bool):
        return Typed(BOOL, value)
    if isinstance(value, int):
        return Typed(U32, value)
    if isinstance(value, float):
        return Typed(F32, value)
    if isinstance(value, str):
        return Typed(STRING, value)
    element = _typed(value[0]).kind
    return Typed(ARRAY, list(value), I32 if element == U32 else element)
