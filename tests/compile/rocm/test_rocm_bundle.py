"""HIP offload bundles: layout, and reading ones that lie."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrylm.compile.rocm.bundle import MAGIC, bundles_in, read_bundle, write_bundle
from ferrylm.errors import ArtifactError

CODE = {"gfx90a": b"A" * 5000, "gfx1100": b"B", "gfx11-generic": b"C" * 4096}


def test_entries_come_back_in_order() -> None:
    assert list(read_bundle(write_bundle(CODE)).items()) == list(CODE.items())


def test_the_host_is_first_and_empty_and_code_lies_at_multiples_of_4096() -> None:
    data = write_bundle(CODE)
    assert data.startswith(b"__CLANG_OFFLOAD_BUNDLE__")
    assert len(data) % 4096 == 0
    (count,) = struct.unpack_from("<Q", data, 24)
    assert count == 4
    at, entries = 32, []
    for _ in range(count):
        offset, size, length = struct.unpack_from("<QQQ", data, at)
        entries.append((data[at + 24 : at + 24 + length].decode(), offset, size))
        at += 24 + length
    assert entries[0] == ("host-x86_64-unknown-linux-gnu-", 4096, 0)
    assert [name for name, _, _ in entries[1:]] == [
        f"hipv4-amdgcn-amd-amdhsa--{name}" for name in CODE
    ]
    assert all(offset % 4096 == 0 for _, offset, _ in entries)
    assert [size for _, _, size in entries[1:]] == [5000, 1, 4096]


def test_bundles_are_found_within_other_bytes_whole_and_in_order() -> None:
    first, second = write_bundle(CODE), write_bundle({"gfx906": b"D" * 9000})
    assert bundles_in(b"ELF..." + first + b"between" + second + b"after") == [first, second]
    assert bundles_in(b"no bundle here") == []
    with pytest.raises(ArtifactError):
        bundles_in(b"x" + first[:5000])


@pytest.mark.parametrize("cut", [0, 10, 24, 31, 40, 60, 100, 4096 * 2])
def test_a_truncated_bundle_is_refused(cut: int) -> None:
    with pytest.raises(ArtifactError):
        read_bundle(write_bundle(CODE)[:cut])


def test_an_entry_off_the_grid_is_refused() -> None:
    data = bytearray(write_bundle({"gfx90a": b"A" * 100}))
    at = 32 + 24 + len("host-x86_64-unknown-linux-gnu-")
    struct.pack_into("<Q", data, at, 4097)
    with pytest.raises(ArtifactError, match="4097"):
        read_bundle(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 250))
def test_any_bytes_after_the_magic_are_read_or_refused(noise: bytes, at: int) -> None:
    data = bytearray(write_bundle(CODE))
    data[len(MAGIC) + at : len(MAGIC) + at + len(noise)] = noise
    try:
        found = read_bundle(bytes(data))
    except ArtifactError:
        return
    assert all(len(code) <= len(data) for code in found.values())
