"""A strict reader of safetensors headers, for artifacts and for sources alike.

Format: https://huggingface.co/docs/safetensors: eight bytes of header length, a JSON header,
then the data of all tensors without holes.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass

from ferrylm.errors import ArtifactError, FerryError
from ferrylm.runtime.file_hash import read_exactly
from ferrylm.runtime.strict_json import JsonValue, loads
from ferrylm.runtime.tensor_types import SAFETENSORS_ITEM_BYTES

MAX_HEADER_BYTES = 16 << 20  # the format allows 100 MB; ten thousand tensors take about one
MAX_DIMENSIONS = 16
MAX_NAME_LENGTH = 512
METADATA_KEY = "__metadata__"

_LENGTH_BYTES = 8


@dataclass(frozen=True)
class TensorSlice:
    """Where one tensor lies; `dtype` is the format's own name (F16, BF16, U8, ...)."""

    dtype: str
    shape: tuple[int, ...]
    offset: int  # from the start of the file
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """A checked header; `tensors` is in the order of the data."""

    tensors: dict[str, TensorSlice]
    metadata: dict[str, str]


class _Refused(Exception):
    """What is wrong, without the name of the file."""

    def __init__(self, found: str, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(found)


def read_header(
    fd: int, size_bytes: int, *, what: str, error: type[FerryError] = ArtifactError
) -> Header:
    """Read and check the header of an open safetensors file of `size_bytes`.

    Every slice that comes back lies within the file, has as many bytes as its dtype and shape
    say, and overlaps no other. `what` names the file in messages. Tensor names are any text:
    never make a path of one. Raises `error`.
    """
    try:
        return _read(fd, size_bytes, what, error)
    except _Refused as refused:
        raise error(
            f"{what}: {refused.found}", wanted=refused.wanted, fix="fetch or make the file again"
        ) from None
    except OSError as problem:
        raise error(
            f"{what} cannot be read ({os.strerror(problem.errno or 0)})",
            wanted="a readable safetensors file",
            fix="check the disk, then fetch or make the file again",
        ) from None


def _read(fd: int, size_bytes: int, what: str, error: type[FerryError]) -> Header:
    (length,) = struct.unpack("<Q", _read_bytes(fd, 0, _LENGTH_BYTES))
    limit = min(MAX_HEADER_BYTES, size_bytes - _LENGTH_BYTES)
    if not 2 <= length <= limit:
        raise _Refused(f"a header of {length} bytes", f"2 to {limit}")
    raw = _read_bytes(fd, _LENGTH_BYTES, length)
    if not raw.startswith(b"{"):
        raise _Refused("a header that begins with another byte than {", "a JSON object")
    value = loads(raw, what=f"{what}: header", error=error, max_bytes=length, max_depth=4)
    if type(value) is not dict:
        raise _Refused("a header that is no object", "a JSON object")
    metadata = _metadata(value.pop(METADATA_KEY, {}))
    data_start = _LENGTH_BYTES + length
    slices = [(name, _slice(name, entry, data_start)) for name, entry in value.items()]
    # Of slices with one start, empty ones come first.
    slices.sort(key=lambda pair: (pair[1].offset, pair[1].size_bytes))
    _check_layout(slices, data_start, size_bytes)
    return Header(dict(slices), metadata)


def _read_bytes(fd: int, offset: int, count: int) -> bytes:
    buffer = bytearray(count)
    if not read_exactly(fd, memoryview(buffer), offset):
        raise _Refused("ends within its header", "a whole safetensors file")
    return bytes(buffer)


def _metadata(value: JsonValue) -> dict[str, str]:
    if type(value) is not dict:
        raise _Refused(f"{METADATA_KEY} is no object", "texts by name")
    texts = {key: text for key, text in value.items() if type(text) is str}
    if len(texts) != len(value):
        raise _Refused(f"{METADATA_KEY} holds something else than texts", "texts by name")
    return texts


def _slice(name: str, entry: JsonValue, data_start: int) -> TensorSlice:
    label = f"tensor {name[:60]!a}"
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise _Refused(f"a name of {len(name)} characters", f"1 to {MAX_NAME_LENGTH}")
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Refused(f"{label} has other fields", "dtype, shape and data_offsets")
    dtype = entry["dtype"]
    if type(dtype) is not str or dtype not in SAFETENSORS_ITEM_BYTES:
        raise _Refused(
            f"{label} has the dtype {ascii(dtype)[:40]}",
            "one of " + ", ".join(SAFETENSORS_ITEM_BYTES),
        )
    shape = _sizes(entry["shape"], label, "shape")
    offsets = _sizes(entry["data_offsets"], label, "data_offsets")
    if len(shape) > MAX_DIMENSIONS:
        raise _Refused(f"{label} has {len(shape)} dimensions", f"at most {MAX_DIMENSIONS}")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _Refused(f"{label} has data_offsets that are no range", "a begin and an end")
    size = offsets[1] - offsets[0]
    # Python's integers do not wrap, so this product is the true one.
    wanted = math.prod(shape) * SAFETENSORS_ITEM_BYTES[dtype]
    if size != wanted:
        raise _Refused(f"{label} has {size} bytes of data", f"{wanted}, by its dtype and shape")
    return TensorSlice(dtype, shape, data_start + offsets[0], size)


def _sizes(value: JsonValue, label: str, field: str) -> tuple[int, ...]:
    if type(value) is not list:
        raise _Refused(f"{label} has no list as {field}", "a list of integers")
    sizes = tuple(item for item in value if type(item) is int and item >= 0)
    if len(sizes) != len(value):
        raise _Refused(f"{label} has a {field} of other things", "integers of 0 or more")
    return sizes


def _check_layout(slices: list[tuple[str, TensorSlice]], data_start: int, size_bytes: int) -> None:
    """Refuse holes, overlaps and bytes that belong to no tensor."""
    end = data_start
    for name, tensor in slices:
        if tensor.offset != end:
            raise _Refused(
                f"tensor {name[:60]!a} begins at byte {tensor.offset}",
                f"byte {end}, where the data before it ends",
            )
        end += tensor.size_bytes
    if end != size_bytes:
        raise _Refused(f"{size_bytes} bytes in all", f"{end}, where the last tensor ends")
