"""Builds GPU kernels for NVIDIA's chips and runs them on numpy arrays, on the host's CPU.

The interface is that of vulkan_runner.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrylm.compile.cuda.tiers import TIERS
from tests.support.cuda_emulator.runner import Function, build
from tests.support.cuda_emulator.runner import run as run_once

__all__ = ["NEW", "OLD", "build", "run"]

Array = np.ndarray
NEW, OLD = TIERS["sm90"].profile, TIERS["sm75"].profile


def run(
    function: Function, inputs: list[Any], outputs: list[tuple[tuple[int, ...], str]]
) -> list[Array]:
    """Call a kernel on arrays, its threads in either order; its last arguments are outputs.

    Raises AssertionError where the order makes a difference, which is a race.
    """
    found, other = (run_once(function, inputs, outputs, backward=way) for way in (False, True))
    for place, (one, two) in enumerate(zip(found, other, strict=True)):
        np.testing.assert_array_equal(one, two, f"result {place} depends on the order of threads")
    return found
