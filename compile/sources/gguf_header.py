"""Read the header of a GGUF file, strictly: metadata and the list of tensors.

Format: docs/gguf.md of ggml, versions 2 and 3, little endian. Every count, length and offset is
checked against the bytes that are there before anything is allocated or skipped.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from ferrylm.compile.sources.encodings import ENCODINGS
from ferrylm.compile.sources.files import WeightFile
from ferrylm.compile.sources.gguf_metadata import Metadata, Value
from ferrylm.errors import SourceError, UnsupportedModelError

_MAX_HEADER_BYTES = 256 << 20  # the largest vocabularies need about 20 MB
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_STRINGS = 1 << 20  # in all arrays; the largest tokenizers have about 800,000
_MAX_KEY_BYTES = 65535
_MAX_NAME_BYTES = 64
_MAX_DIMENSIONS = 4
_WINDOW_BYTES = 1 << 20

_STRING, _ARRAY = 8, 9
_BOOL = 7
_SCALARS = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4",
    6: "<f4", _BOOL: "u1", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip

# Numbers of ggml_type. Those without a decoder are named in the refusal.
_TYPE_NAMES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
    23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16",
    34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies. `dimensions` are in file order: the contiguous one first."""

    name: str
    dimensions: tuple[int, ...]
    encoding: str
    offset: int  # from the start of the file
    size_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """The parsed header of a GGUF file; tensors in the order of the file's list."""

    version: int
    metadata: Metadata
    tensors: tuple[TensorInfo, ...]


def read_header(file: WeightFile) -> GgufHeader:
    """Parse and check the header of an open GGUF file.

    Raises SourceError for a malformed file, UnsupportedModelError for a well-formed one of an
    unknown version, byte order or tensor type.
    """
    cursor = _Cursor(file)
    version = _read_version(cursor)
    tensor_count = cursor.count("tensors", least_bytes=32, most=_MAX_TENSORS)
    key_count = cursor.count("metadata keys", least_bytes=13, most=_MAX_KEYS)
    values: dict[str, Value] = {}
    for _ in range(key_count):
        key = cursor.string("a metadata key", most=_MAX_KEY_BYTES)
        if not key or key in values:
            raise malformed(f"the metadata key {key[:64]!r} is empty or comes twice")
        values[key] = _read_value(cursor, key)
    metadata = Metadata(values)
    alignment = metadata.integer("general.alignment", least=8, most=1 << 16, default=32)
    if alignment & (alignment - 1):
        raise malformed(f"an alignment of {alignment} bytes, which is no power of two")
    infos = [_read_tensor_info(cursor) for _ in range(tensor_count)]
    data_start = -(-cursor.position // alignment) * alignment
    tensors = tuple(_placed(info, data_start, alignment, file.size_bytes) for info in infos)
    _check_disjoint(tensors)
    return GgufHeader(version, metadata, tensors)


def malformed(found: str) -> SourceError:
    """Describe a GGUF file that breaks its format."""
    return SourceError(
        f"GGUF file with {found}", wanted="a well-formed GGUF file", fix="fetch the file again"
    )


class _Cursor:
    """Reads forward through a file in windows, never past its end."""

    def __init__(self, file: WeightFile) -> None:
        self._file = file
        self._end = min(file.size_bytes, _MAX_HEADER_BYTES)
        self._window = b""
        self._window_start = 0
        self._strings_left = _MAX_STRINGS
        self.position = 0

    @property
    def remaining(self) -> int:
        return self._end - self.position

    def take(self, size_bytes: int, what: str) -> bytes:
        if size_bytes > self.remaining:
            raise malformed(
                f"{what} of {size_bytes} bytes at byte {self.position}, "
                f"where {self.remaining} are left for the header"
            )
        at = self.position - self._window_start
        if at + size_bytes > len(self._window):
            wanted = min(max(size_bytes, _WINDOW_BYTES), self.remaining)
            self._window = self._file.read(self.position, wanted).tobytes()
            self._window_start, at = self.position, 0
        self.position += size_bytes
        return self._window[at : at + size_bytes]

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def u64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def count(self, what: str, least_bytes: int, most: int) -> int:
        """Read a count of things that take at least so many bytes each."""
        number = self.u64(f"the number of {what}")
        if number > most or number * least_bytes > self.remaining:
            raise malformed(f"{number} {what}, where {self.remaining} bytes are left")
        return number

    def strings(self, what: str) -> list[str]:
        count = self.count(what, least_bytes=8, most=self._strings_left)
        self._strings_left -= count
        return [self.string(f"one of the {what}") for _ in range(count)]

    def string(self, what: str, most: int | None = None) -> str:
        size_bytes = self.u64(f"the length of {what}")
        if most is not None and size_bytes > most:
            raise malformed(f"{what} of {size_bytes} bytes, more than {most}")
        try:
            return self.take(size_bytes, what).decode("utf-8")
        except UnicodeDecodeError:
            raise malformed(f"{what} before byte {self.position} that is not UTF-8") from None


def _read_version(cursor: _Cursor) -> int:
    magic = cursor.take(4, "the magic number")
    if magic != b"GGUF":
        raise SourceError(
            f"a file that begins with {magic!r}", wanted="GGUF", fix="check that it is a GGUF file"
        )
    version = cursor.u32("the version")
    if version in (2, 3):
        return version
    swapped = struct.unpack(">I", struct.pack("<I", version))[0]
    raise UnsupportedModelError(
        f"GGUF version {swapped}, big endian" if swapped in (2, 3) else f"GGUF version {version}",
        wanted="version 2 or 3, little endian",
        fix="convert the model again with a current llama.cpp",
    )


def _read_value(cursor: _Cursor, key: str) -> Value:
    kind = cursor.u32(f"the type of {key}")
    if kind == _STRING:
        return cursor.string(f"the text of {key}")
    if kind == _ARRAY:
        return _read_array(cursor, key)
    if kind not in _SCALARS:
        raise malformed(f"value type {kind} at {key}")
    dtype = np.dtype(_SCALARS[kind])
    number = np.frombuffer(cursor.take(dtype.itemsize, f"the value of {key}"), dtype)
    if dtype == np.float32:
        # The shortest decimal that means this float32: 1e-05, not 9.99999974e-06.
        return float(str(number[0]))
    scalar: bool | int | float = (_checked_bools(number, key) if kind == _BOOL else number)[
        0
    ].item()
    return scalar


def _read_array(cursor: _Cursor, key: str) -> Value:
    kind = cursor.u32(f"the element type of {key}")
    if kind == _STRING:
        return cursor.strings(f"strings of {key}")
    if kind not in _SCALARS:  # arrays of arrays too, which no reader of the format takes
        raise malformed(f"element type {kind} of the array {key}")
    dtype = np.dtype(_SCALARS[kind])
    count = cursor.count(f"elements of {key}", least_bytes=dtype.itemsize, most=1 << 32)
    numbers = np.frombuffer(cursor.take(count * dtype.itemsize, key), dtype)
    return _checked_bools(numbers, key) if kind == _BOOL else numbers


def _checked_bools(numbers: np.ndarray, key: str) -> np.ndarray:
    if numbers.size and numbers.max() > 1:
        raise malformed(f"a truth value other than 0 and 1 at {key}")
    return numbers.astype(np.bool_)


def _read_tensor_info(cursor: _Cursor) -> TensorInfo:
    """Read one entry of the tensor list; its offset still counts from the data section."""
    name = cursor.string("a tensor name", most=_MAX_NAME_BYTES)
    rank = cursor.u32(f"the rank of {name}")
    if not name or not 1 <= rank <= _MAX_DIMENSIONS:
        raise malformed(f"{rank} dimensions of tensor {name!r}")
    dimensions = tuple(cursor.u64(f"a dimension of {name}") for _ in range(rank))
    type_number = cursor.u32(f"the type of {name}")
    offset = cursor.u64(f"the offset of {name}")
    encoding = _TYPE_NAMES.get(type_number, f"number {type_number}")
    if encoding not in ENCODINGS:
        raise UnsupportedModelError(
            f"tensor {name!r} of type {encoding}",
            wanted="one of " + ", ".join(sorted(set(_TYPE_NAMES.values()) & set(ENCODINGS))),
            fix="use a GGUF file of another quantization, such as Q4_0 or Q8_0",
        )
    format_ = ENCODINGS[encoding]
    if 0 in dimensions or dimensions[0] % format_.block_columns:
        raise malformed(f"dimensions {dimensions} of tensor {name!r} in {encoding}")
    size_bytes = format_.row_bytes(dimensions[0]) * math.prod(dimensions[1:])
    return TensorInfo(name, dimensions, encoding, offset, size_bytes)


def _placed(info: TensorInfo, data_start: int, alignment: int, file_bytes: int) -> TensorInfo:
    start = data_start + info.offset
    if info.offset % alignment or start + info.size_bytes > file_bytes:
        raise malformed(
            f"tensor {info.name!r} of {info.size_bytes} bytes at offset {info.offset}, "
            f"in a file of {file_bytes} bytes aligned to {alignment}"
        )
    return TensorInfo(info.name, info.dimensions, info.encoding, start, info.size_bytes)


def _check_disjoint(tensors: tuple[TensorInfo, ...]) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise malformed("two tensors of one name")
    end, last = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            raise malformed(f"tensors {last!r} and {tensor.name!r} that overlap")
        end, last = tensor.offset + tensor.size_bytes, tensor.name
