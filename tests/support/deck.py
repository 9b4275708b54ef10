"""The Steam Deck's compiler for tests, and the shaders that they give it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from ferrylm.compile.isa.container import Kernel
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
