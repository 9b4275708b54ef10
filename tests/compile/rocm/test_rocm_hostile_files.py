"""Code objects and metadata that lie: every one is read or refused with a typed error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rocm_kernels import BuiltKernels

from ferrylm.compile.rocm.kernel_resources import code_object_resources
from ferrylm.compile.rocm.message_pack import read_message_pack
from ferrylm.errors import ArtifactError


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x05", 5),
        (b"\xff", -1),
        (b"\xc0", None),
        (b"\xc3", True),
        (b"\xcc\xff", 255),
        (b"\xd1\xff\x00", -256),
        (b"\xce\x00\x01\x00\x00", 65536),
        (b"\xcb" + struct.pack(">d", 1.5), 1.5),
        (b"\xa3abc", "abc"),
        (b"\xd9\x03abc", "abc"),
        (b"\xc4\x02\x00\x01", b"\x00\x01"),
        (b"\x92\x01\x81\xa1k\x02", [1, {"k": 2}]),
        (b"\xdc\x00\x01\x07", [7]),
        (b"\xde\x00\x01\xa1k\x90", {"k": []}),
    ],
)
def test_message_pack_values_are_those_of_the_specification(data: bytes, value: object) -> None:
    assert read_message_pack(data) == value


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x05\x05", b"\xa5abc", b"\xdd\xff\xff\xff\xff", b"\x81\x01\x02", b"\x91" * 50],
)
def test_malformed_message_pack_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        read_message_pack(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_code_objects_are_read_or_refused(
    everything: BuiltKernels, data: st.DataObject
) -> None:
    code = bytearray(everything.code_objects["gfx1100"].code)
    # Headers, notes and descriptors lie in the first kilobytes, section headers at the end.
    start = data.draw(st.sampled_from([0, 64, 512, 1024, 1536, len(code) - 700]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = start + data.draw(st.integers(0, 500))
        code[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    try:
        kernels = code_object_resources("gfx1100", bytes(code))
    except ArtifactError:
        return
    assert all(kernel.architecture == "gfx1100" for kernel in kernels)


@pytest.mark.parametrize("cut", [0, 20, 63, 64, 300, 1000, 5000])
def test_truncated_code_objects_are_refused(everything: BuiltKernels, cut: int) -> None:
    code = everything.code_objects["gfx1100"].code
    assert cut < len(code)
    with pytest.raises(ArtifactError):
        code_object_resources("gfx1100", code[:cut])


def test_metadata_that_contradicts_the_descriptor_is_refused(everything: BuiltKernels) -> None:
    code = everything.code_objects["gfx90a"].code
    said = code.replace(b".wavefront_size\x40", b".wavefront_size\x20")
    assert said != code
    with pytest.raises(ArtifactError, match="descriptor"):
        code_object_resources("gfx90a", said)
