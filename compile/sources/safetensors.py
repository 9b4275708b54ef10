"""Read safetensors files: the header strictly, the tensors piece by piece.

Format: the README of huggingface/safetensors. The package of that name maps the file into memory
and accepts a name twice; this reader does neither.
"""

from __future__ import annotations

import math
from typing import TypeGuard

from ferrylm.compile.sources.files import FileRows, WeightFile
from ferrylm.compile.sources.source import SourceTensor
from ferrylm.errors import SourceError, UnsupportedModelError
from ferrylm.runtime import strict_json

_MAX_HEADER_BYTES = 8 << 20  # the format allows 100 MB; real headers are below one
_ENCODINGS = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2,
    "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


def read_safetensors(file: WeightFile) -> dict[str, SourceTensor]:
    """Return the tensors of an open safetensors file by name.

    Raises SourceError for a malformed file, UnsupportedModelError for tensors of integers, of
    8-bit floats or of a rank other than 1 and 2.
    """
    if file.size_bytes < 8:
        raise _malformed(file, f"{file.size_bytes} bytes")
    header_bytes = int.from_bytes(file.read(0, 8).tobytes(), "little")
    if header_bytes > min(file.size_bytes - 8, _MAX_HEADER_BYTES):
        raise _malformed(file, f"a header of {header_bytes} bytes in a file of {file.size_bytes}")
    raw = file.read(8, header_bytes).tobytes()
    if not raw.startswith(b"{"):
        raise _malformed(file, "a header that does not begin with '{'")
    header = strict_json.loads(
        raw,
        what=f"header of {file.path.name}",
        error=SourceError,
        max_bytes=_MAX_HEADER_BYTES,
        max_depth=8,
    )
    if type(header) is not dict:
        raise _malformed(file, "a header that is no object")
    data_start = 8 + header_bytes
    ranges: list[tuple[int, int, str]] = []
    tensors: dict[str, SourceTensor] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end, tensor = _read_entry(file, name, entry, data_start)
        ranges.append((begin, end, name))
        tensors[name] = tensor
    _check_coverage(file, ranges, file.size_bytes - data_start)
    return tensors


def _read_entry(
    file: WeightFile, name: str, entry: strict_json.JsonValue, data_start: int
) -> tuple[int, int, SourceTensor]:
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _malformed(file, f"an entry of tensor {ascii(name)[:100]} that is not the format's")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or dtype not in _ITEM_BYTES:
        raise _malformed(file, f"dtype {ascii(dtype)[:40]} of tensor {ascii(name)[:100]}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _malformed(file, f"shape or offsets of tensor {ascii(name)[:100]}")
    begin, end = offsets
    if begin > end or end - begin != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise _malformed(file, f"tensor {ascii(name)[:100]} of another size than its shape's")
    if dtype not in _ENCODINGS or len(shape) not in (1, 2) or 0 in shape:
        raise UnsupportedModelError(
            f"tensor {ascii(name)[:100]} of dtype {dtype} and shape {shape}",
            wanted="vectors and matrices of F32, F16 or BF16",
            fix="use an unquantized checkpoint of a text model",
        )
    row_bytes = (end - begin) // shape[0]
    rows = FileRows(file, data_start + begin, row_bytes)
    return begin, end, SourceTensor(name, tuple(shape), _ENCODINGS[dtype], rows)


def _are_sizes(value: strict_json.JsonValue) -> TypeGuard[list[int]]:
    """Tell whether a value is a short list of whole numbers that are not negative."""
    return (
        type(value) is list
        and len(value) <= 8
        and all(type(item) is int and item >= 0 for item in value)
    )


def _check_coverage(file: WeightFile, ranges: list[tuple[int, int, str]], data_bytes: int) -> None:
    """Refuse overlaps, holes and bytes behind the last tensor."""
    expected = 0
    for begin, end, name in sorted(ranges):
        if begin != expected:
            raise _malformed(file, f"tensor {ascii(name)[:100]} at offset {begin}, not {expected}")
        expected = end
    if expected != data_bytes:
        raise _malformed(file, f"{data_bytes} bytes of data, where its tensors have {expected}")


def _malformed(file: WeightFile, found: str) -> SourceError:
    return SourceError(
        f"{file.path.name}: {found}",
        wanted="a well-formed safetensors file",
        fix="fetch the file again",
    )
