"""Kernels are found in whatever file they were linked into; a damaged container is an error."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ferrylm.compile.isa.container import MAGIC, Kernel, find_kernels
from ferrylm.errors import ArtifactError
from tests.support.deck import container as container_of
from tests.support.deck import container_entry

SPIRV = struct.pack("<5I", 0x07230203, 0x10600, 0, 1, 0)


def entry(**changes: Any) -> dict[str, Any]:
    return container_entry(SPIRV, **changes)


def container(*entries: dict[str, Any]) -> bytes:
    return container_of(SPIRV, *entries)


def test_a_kernel_is_read_with_all_that_compiling_it_takes() -> None:
    assert find_kernels(container(entry(loop_weights=64, lane_weights=640)), "x") == [
        Kernel("matvec", SPIRV, 32, 16, ("shaderInt64",), 64, 640)
    ]


def test_kernels_with_an_argument_buffer_have_one_push_constant() -> None:
    many = entry(arguments=["handle"] * 20, argument_buffer=True)
    assert find_kernels(container(many), "x")[0].push_constant_bytes == 8


def test_all_containers_of_a_library_are_found_among_other_bytes() -> None:
    library = b"\x7fELF" + bytes(37) + container(entry()) + b"code" + container(entry(name="b"))
    assert [kernel.name for kernel in find_kernels(library, "lib.so")] == ["matvec", "b"]


def test_a_library_without_a_container_has_no_kernels() -> None:
    assert find_kernels(b"\x7fELF" + bytes(4096), "lib.so") == []


@pytest.mark.parametrize(
    "damaged",
    [
        MAGIC,
        MAGIC + struct.pack("<I", 1 << 31) + b"{}",
        MAGIC + struct.pack("<I", 0),
        MAGIC + struct.pack("<I", 2) + b"[]",
        MAGIC + struct.pack("<I", 2) + b"{}",
        MAGIC + struct.pack("<I", 7) + b"\xff\xfe{{{{{",
        container(entry())[:-4],
        container(entry(bytes=len(SPIRV) + 4)),
        container(entry(bytes=10)),
        container(entry(bytes=-4)),
        container(entry(bytes=True)),
        container(entry(name=7)),
        container(entry(arguments=None)),
        container(entry(requires="shaderInt64")),
        container(entry(subgroup_size="32")),
        container(entry(loop_weights=0)),
        container(entry(lane_weights="many")),
        container(entry()).replace(SPIRV[:4], b"\0\0\0\0"),
    ],
)
def test_a_damaged_container_is_refused(damaged: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"Vulkan container in lib\.so"):
        find_kernels(damaged, "lib.so")
