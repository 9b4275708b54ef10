"""Builds GPU kernels for AMD's chips and runs them on numpy arrays, on the host's CPU.

The interface is that of vulkan_runner.py.
"""

from __future__ import annotations

from tests.support.amd_emulator.runner import build, run

__all__ = ["CHIPS", "build", "run"]

# A chip of each kind of matrix unit, and its tier.
CHIPS = {"gfx1100": "wave32-matrix", "gfx1201": "wave32-matrix", "gfx90a": "wave64-matrix"}
