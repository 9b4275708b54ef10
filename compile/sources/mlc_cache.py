"""Read MLC's list of weights (tensor-cache.json), strictly; TVM's own reader checks no bounds."""

from __future__ import annotations

import hashlib
import math
from contextlib import ExitStack
from pathlib import Path

from ferrylm.compile.sources.files import FileRows, WeightFile
from ferrylm.compile.sources.huggingface import plain_file_name, read_object
from ferrylm.compile.sources.source import SourceTensor
from ferrylm.errors import SourceError

_CACHES = ("tensor-cache.json", "ndarray-cache.json")  # newer name first
_MAX_CACHE_BYTES = 32 << 20
_MAX_SHARDS = 4096
_HASHED_PIECE_BYTES = 1 << 20

# (dtype, format) -> encoding. A plane of 4-bit codes keeps the name UINT32, which nothing decodes.
_ENCODINGS = {
    ("float16", "raw"): "F16",
    ("float32", "raw"): "F32",
    ("bfloat16", "raw"): "BF16",
    ("float32", "f32-to-bf16"): "BF16",
    ("uint32", "raw"): "UINT32",
}
_ITEM_BYTES = {"F16": 2, "F32": 4, "BF16": 2, "UINT32": 4}


def read_cache(folder: Path, stack: ExitStack) -> dict[str, SourceTensor]:
    """Return the stored tensors by MLC's names; `stack` closes the files.

    Codes have the encoding UINT32: only `read_rows` works on them. Raises SourceError.
    """
    name = next((name for name in _CACHES if (folder / name).is_file()), None)
    if name is None:
        raise _malformed(f"the folder {folder.name!r} without {_CACHES[0]}")
    shards = read_object(folder / name, _MAX_CACHE_BYTES).get("records")
    if type(shards) is not list or len(shards) > _MAX_SHARDS:
        raise _malformed("no list of shards")
    tensors: dict[str, SourceTensor] = {}
    paths: set[str] = set()
    for shard in shards:
        if type(shard) is not dict or type(shard.get("dataPath")) is not str:
            raise _malformed("a shard without dataPath")
        path = plain_file_name(shard["dataPath"], name)
        if path in paths:
            raise _malformed(f"the shard {ascii(path)[:60]} twice")
        paths.add(path)
        file = WeightFile(folder / path)
        stack.callback(file.close)
        _check_hash(file, shard.get("md5sum"))
        for tensor in _read_shard(file, shard):
            if tensor.name in tensors:
                raise _malformed(f"tensor {ascii(tensor.name)[:100]} twice")
            tensors[tensor.name] = tensor
    return tensors


def _check_hash(file: WeightFile, expected: object) -> None:
    """Compare the MD5 sum, which finds broken downloads; it proves no authorship."""
    if expected is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    for start in range(0, file.size_bytes, _HASHED_PIECE_BYTES):
        size = min(_HASHED_PIECE_BYTES, file.size_bytes - start)
        digest.update(file.read(start, size).data)
    if digest.hexdigest() != expected:
        raise _malformed(f"the file {file.path.name} with another MD5 sum than listed")


def _read_shard(file: WeightFile, shard: dict[str, object]) -> list[SourceTensor]:
    records = shard.get("records")
    if type(records) is not list:
        raise _malformed(f"no tensors of {file.path.name}")
    placed = sorted((_read_record(file, record) for record in records), key=lambda item: item[:2])
    end = 0
    for start, stop, tensor in placed:
        if start < end or stop > file.size_bytes:
            raise _malformed(
                f"tensor {ascii(tensor.name)[:100]} at bytes {start} to {stop} of "
                f"{file.size_bytes}, overlapping another or past the end"
            )
        end = stop
    return [tensor for _, _, tensor in placed]


def _read_record(file: WeightFile, record: object) -> tuple[int, int, SourceTensor]:
    if type(record) is not dict:
        raise _malformed("a tensor record that is no object")
    name, shape = record.get("name"), record.get("shape")
    start, size_bytes = record.get("byteOffset"), record.get("nbytes")
    encoding = _ENCODINGS.get((str(record.get("dtype")), str(record.get("format"))))
    if type(name) is not str or encoding is None:
        raise _malformed(f"tensor {ascii(name)[:100]} of dtype {ascii(record.get('dtype'))[:40]}")
    if (
        type(shape) is not list
        or len(shape) not in (1, 2)
        or not all(type(n) is int and n > 0 for n in shape)
    ):
        raise _malformed(f"tensor {ascii(name)[:100]} of shape {ascii(shape)[:60]}")
    if type(start) is not int or type(size_bytes) is not int or start < 0:
        raise _malformed(f"tensor {ascii(name)[:100]} without a place in its file")
    if size_bytes != math.prod(shape) * _ITEM_BYTES[encoding]:
        raise _malformed(f"tensor {ascii(name)[:100]} of {size_bytes} bytes, shape {shape}")
    rows = FileRows(file, start, size_bytes // shape[0])
    return start, start + size_bytes, SourceTensor(name, tuple(shape), encoding, rows)


def _malformed(found: str) -> SourceError:
    return SourceError(
        f"MLC weights with {found}"[:400],
        wanted="a complete list of the folder's weights",
        fix="fetch the folder again",
    )
