from __future__ import annotations

import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError, safe_open

from ferrylm.errors import ArtifactError, SourceError
from ferrylm.runtime.safetensors_file import Header, TensorSlice, read_header

GOOD = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "U8", "shape": [8], "data_offsets": [24, 32]},
}
GOOD_BYTES = 32


def file_bytes(header: Any, data_bytes: int = GOOD_BYTES, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    return (
        struct.pack("<Q", size)
        + text
        + bytes(range(256)) * (data_bytes // 256)
        + bytes(data_bytes % 256)
    )


def read(path: Path, data: bytes) -> Header:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_header(fd, len(data), what="x.safetensors")
    finally:
        os.close(fd)


def tensor(**changes: Any) -> dict[str, Any]:
    return {"a": {**GOOD["a"], **changes}, "b": GOOD["b"]}


def test_slices_are_absolute_and_in_the_order_of_the_data(tmp_path: Path) -> None:
    header = read(tmp_path / "x", file_bytes({"b": GOOD["b"], "a": GOOD["a"]}))
    start = 8 + len(json.dumps({"b": GOOD["b"], "a": GOOD["a"]}))
    assert list(header.tensors.items()) == [
        ("a", TensorSlice("F32", (2, 3), start, 24)),
        ("b", TensorSlice("U8", (8,), start + 24, 8)),
    ]


def test_scalars_empty_tensors_metadata_and_padding_are_read(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "one": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]},
            "none": {"dtype": "F32", "shape": [0, 5], "data_offsets": [0, 0]},
            "none too": {"dtype": "F32", "shape": [0], "data_offsets": [2, 2]},
        }
    ).encode()
    header = read(tmp_path / "x", file_bytes(text + b"   ", 2))
    assert header.metadata == {"format": "pt"}
    assert list(header.tensors) == ["none", "one", "none too"]


REFUSED: dict[str, bytes] = {
    "an empty file": b"",
    "seven bytes": bytes(7),
    "eight bytes": bytes(8),
    "a header of 0 bytes": file_bytes(GOOD, length=0),
    "a header of 2^63 bytes": file_bytes(GOOD, length=2**63),
    "a header of 2^64-1 bytes": file_bytes(GOOD, length=2**64 - 1),
    "a header longer than the file": file_bytes(GOOD, length=4000),
    "a header one byte short": file_bytes(GOOD, length=len(json.dumps(GOOD)) - 1),
    "a space before the header": file_bytes(b" " + json.dumps(GOOD).encode()),
    "a list as header": file_bytes([GOOD]),
    "a header that is no UTF-8": file_bytes(b'{"\xff": 1}'),
    "a header of deep lists": file_bytes(b'{"a":' + b"[" * 100_000),
    "a name twice": file_bytes(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
    ),
    "a name of 600 characters": file_bytes(
        {"n" * 600: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, 1
    ),
    "an empty name": file_bytes({"": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, 1),
    "metadata that are no texts": file_bytes({**GOOD, "__metadata__": {"a": 1}}),
    "metadata that are a list": file_bytes({**GOOD, "__metadata__": []}),
    "a tensor that is a number": file_bytes({"a": 1}),
    "a field too many": file_bytes(tensor(extra=1)),
    "a field too few": file_bytes({"a": {"dtype": "F32", "shape": [6]}, "b": GOOD["b"]}),
    "an unknown dtype": file_bytes(tensor(dtype="F31")),
    "a dtype of half bytes": file_bytes(tensor(dtype="F4")),
    "a dtype that is a number": file_bytes(tensor(dtype=32)),
    "a shape that is a number": file_bytes(tensor(shape=6)),
    "a shape of fractions": file_bytes(tensor(shape=[2.0, 3.0])),
    "a shape of truths": file_bytes(tensor(shape=[True, 6])),
    "a shape below 0": file_bytes(tensor(shape=[-2, -3])),
    "a shape that wraps around 64 bits": file_bytes(tensor(shape=[2**32, 2**32])),
    "a shape that wraps to the right size": file_bytes(tensor(shape=[2**62 + 6])),
    "seventeen dimensions": file_bytes(tensor(shape=[1] * 16 + [6])),
    "a shape of more bytes": file_bytes(tensor(shape=[2, 4])),
    "a shape of fewer bytes": file_bytes(tensor(shape=[2, 2])),
    "one offset": file_bytes(tensor(data_offsets=[24])),
    "three offsets": file_bytes(tensor(data_offsets=[0, 24, 24])),
    "an end before the begin": file_bytes(tensor(data_offsets=[24, 0])),
    "an offset below 0": file_bytes(tensor(data_offsets=[-24, 0])),
    "an overlap": file_bytes(
        {"a": GOOD["a"], "b": {"dtype": "U8", "shape": [8], "data_offsets": [20, 28]}}, 28
    ),
    "twice the same range": file_bytes({"a": GOOD["a"], "b": GOOD["a"]}, 24),
    "an overlap and a hole of the same size": file_bytes(
        {
            "a": GOOD["a"],
            "b": GOOD["a"],
            "c": {"dtype": "U8", "shape": [8], "data_offsets": [48, 56]},
        },
        56,
    ),
    "a hole": file_bytes(
        {"a": GOOD["a"], "b": {"dtype": "U8", "shape": [8], "data_offsets": [28, 36]}}, 36
    ),
    "a hole at the begin": file_bytes(
        {"b": {"dtype": "U8", "shape": [8], "data_offsets": [24, 32]}}
    ),
    "data past the end": file_bytes(GOOD, GOOD_BYTES - 1),
    "bytes of no tensor": file_bytes(GOOD, GOOD_BYTES + 1),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_lies_about_itself_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^x\.safetensors:"):
        read(tmp_path / "x", data)


def test_the_caller_chooses_the_kind_of_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(file_bytes(b"{,}"))
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    with pytest.raises(SourceError, match="from a stranger"):
        read_header(fd, 11, what="from a stranger", error=SourceError)
    os.close(fd)


def test_a_disk_that_fails_gives_the_typed_error() -> None:
    fd = os.open("/proc/self", os.O_RDONLY)  # a folder: every read fails
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_header(fd, 100, what="x")
    os.close(fd)


def forge(generator: random.Random) -> bytes:
    """Change a good file: one number or text of the header, or a few bytes anywhere."""
    header: Any = json.loads(json.dumps(GOOD))
    numbers = [0, 1, -1, 2, 24, 25, 32, 2**31, 2**32, 2**63, 2**64, 1.0, True, None, "24", [0]]
    if generator.random() < 0.7:
        entry = header[generator.choice("ab")]
        field = generator.choice(["dtype", "shape", "data_offsets"])
        if field == "dtype":
            entry[field] = generator.choice(["F16", "U8", "F64", "BOOL", "F4", "", 1, None])
        else:
            entry[field] = [generator.choice(numbers) for _ in range(generator.randint(0, 3))]
        return file_bytes(header, generator.choice([GOOD_BYTES, 0, 31, 33]))
    data = bytearray(file_bytes(header))
    for _ in range(generator.randint(1, 3)):
        data[generator.randrange(len(data))] = generator.randrange(256)
    return bytes(data[: generator.randint(0, len(data))] if generator.random() < 0.2 else data)


def test_a_thousand_forged_files_never_give_a_slice_outside_the_file(tmp_path: Path) -> None:
    generator = random.Random(11)
    path = tmp_path / "x"
    for _ in range(1000):
        data = forge(generator)
        try:
            header = read(path, data)
        except ArtifactError:
            continue
        for place in header.tensors.values():
            assert 8 <= place.offset <= place.offset + place.size_bytes <= len(data)
        try:
            with safe_open(path, "numpy") as reference:
                assert set(reference.keys()) == set(header.tensors)
        except SafetensorError as error:
            pytest.fail(f"accepted what the reference reader refuses: {error}: {data!r}")
