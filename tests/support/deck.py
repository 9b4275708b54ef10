"""The Steam Deck's compiler for tests, and the shaders that they give it."""

from __future__ import annotations

import functools
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from ferrylm.compile.isa.container import MAGIC, Kernel
from ferrylm.compile.isa.radv import Family, find_radv, open_family
from ferrylm.errors import DeviceError

SHADERS = Path(__file__).resolve().parents[1] / "fixtures" / "shaders"
LOOP_WEIGHTS = {"gemv_float": 32, "gemv_dot": 32}  # as the sources say


def _installed() -> bool:
    try:
        find_radv()
    except DeviceError:
        return False
    return True


# In CI the driver is installed: there, a test without it fails.
needs_radv = pytest.mark.skipif(
    not _installed() and not os.environ.get("CI"), reason="Mesa's RADV is not installed"
)


@functools.cache
def deck() -> Family:
    """Return the Steam Deck's GPU."""
    return open_family("vangogh")


def shader(name: str, subgroup: int) -> Kernel:
    """Return a shader of tests/fixtures/shaders as a kernel."""
    spirv = (SHADERS / f"{name}.spv").read_bytes()
    return Kernel(name, spirv, subgroup, 48, loop_weights=LOOP_WEIGHTS.get(name))


def container_entry(spirv: bytes, **changes: Any) -> dict[str, Any]:
    """Return what a container's header says of a kernel, but for its offset."""
    return {
        "name": "matvec",
        "bytes": len(spirv),
        "arguments": ["handle", "int32"],
        "access": ["r", ""],
        "launch": ["blockIdx.x"],
        "local_size": [64, 1, 1],
        "subgroup_size": 32,
        "shared_bytes": 0,
        "argument_buffer": False,
        "spirv_version": "1.6",
        "requires": ["shaderInt64"],
    } | changes


def container(spirv: bytes, *entries: dict[str, Any]) -> bytes:
    """Return a container whose kernels all share one shader."""
    offset = 4096
    header = json.dumps({"kernels": [{"offset": offset} | entry for entry in entries]}).encode()
    start = MAGIC + struct.pack("<I", len(header)) + header
    assert len(start) <= offset
    return start.ljust(offset, b"\0") + spirv
