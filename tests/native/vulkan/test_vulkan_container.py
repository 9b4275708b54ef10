"""Containers of Vulkan modules: damaged ones are refused, whatever the damage."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from vulkan_containers import ADD, INCREMENT, MAGIC, MANY, container

from ferrylm.runtime import vulkan_backend


def load(data: bytes) -> Any:
    return vulkan_backend.call("module_from_bytes", data)


def with_header(text: bytes) -> bytes:
    data = MAGIC + struct.pack("<I", len(text)) + text
    return data + bytes(-len(data) % 8)


def test_a_whole_container_loads_and_knows_its_kernels() -> None:
    kernels = load(container((ADD, INCREMENT)))
    assert kernels.kind == "vulkan"
    assert kernels.implements_function("add")
    assert not kernels.implements_function("subtract")
    assert kernels.is_binary_serializable()


def test_a_container_without_kernels_is_whole() -> None:
    assert not load(with_header(b'{"kernels": []}')).implements_function("add")


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": -8},
        {"offset": 0},
        {"offset": 1 << 62},
        {"offset": 9},
        {"offset": 1.5},
        {"bytes": 0},
        {"bytes": 1 << 40},
        {"bytes": 6},
        {"name": 5},
        {"name": "increment"},
        {"arguments": ["handle"]},
        {"arguments": ["handle", "handle", "handle", "int3"]},
        {"access": ["r", "r", "x", ""]},
        {"access": ["r", "r", "w", "r"]},
        {"launch": ["blockIdx.q"]},
        {"launch": ["blockIdx"]},
        {"launch": ["blockIdx.x"] * 7},
        {"local_size": [64, 1]},
        {"local_size": [0, 1, 1]},
        {"local_size": [64, 1, 1 << 20]},
        {"subgroup_size": 12},
        {"subgroup_size": -8},
        {"shared_bytes": -1},
        {"argument_buffer": 1},
        {"requires": [None]},
        {"requires": "shaderInt64"},
    ],
    ids=str,
)
def test_a_header_that_lies_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(vulkan_backend.VulkanError, match="damaged or of another version"):
        load(container((ADD, INCREMENT), changes))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"FERRYVK",
        MAGIC,
        b"FERRYVK2" + container((ADD,))[8:],
        MAGIC + struct.pack("<I", 0xFFFFFFFF),
        with_header(b""),
        with_header(b"[]"),
        with_header(b"{}"),
        with_header(b'{"kernels": {}}'),
        with_header(b'{"kernels": [1]}'),
        with_header(b'{"kernels": []} x'),
        with_header(b'{"kernels": [], "kernels": []}'),
        with_header(b"[" * 100_000),
        with_header(b'{"kernels": [{"name": "\\ud800"}]}'),
        with_header(b'{"kernels": [{"name": "\x01"}]}'),
        with_header(b'{"a": 99999999999999999999}'),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_bytes_that_are_no_container_are_refused(data: bytes) -> None:
    with pytest.raises(vulkan_backend.VulkanError, match="damaged or of another version"):
        load(data)


def test_every_truncation_is_refused() -> None:
    whole = container((ADD,))
    for size in range(0, len(whole) - 8, 7):
        with pytest.raises(vulkan_backend.VulkanError):
            load(whole[:size])


def test_random_damage_is_refused_or_harmless() -> None:
    whole = container((ADD, MANY))
    header_end = 12 + struct.unpack("<I", whole[8:12])[0]
    generator = random.Random(1)
    refused = 0
    for _ in range(20_000):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(header_end)
            damaged[place] = generator.randrange(256)
        try:
            load(bytes(damaged)).implements_function("add")
        except vulkan_backend.VulkanError:
            refused += 1
    assert refused > 10_000


def test_extra_keys_are_left_to_later_versions() -> None:
    assert load(container((ADD,), {"notes": "x"})).implements_function("add")
