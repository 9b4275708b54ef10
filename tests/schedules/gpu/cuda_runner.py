"""Builds GPU kernels for NVIDIA's chips and runs them on numpy arrays, on the host's CPU.

The interface is that of vulkan_runner.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferrylm.compile.cuda.tiers import TIERS
from tests.support.cuda_emulator.runner import Function, build
from tests.support.cuda_emulator.runner import run as run_once
from tests.support.cuda_emulator.runner import run_in_place as run_in_place_once

__all__ = ["NEW", "OLD", "build", "run", "run_in_place"]

Array = np.ndarray
NEW, OLD = TIERS["sm90"].profile, TIERS["sm75"].profile


def run(
    function: Function, inputs: list[Any], outputs: Sequence[tuple[tuple[int, ...], str]]
) -> list[Array]:
    """Call a kernel on arrays, its threads in either order; its last arguments are outputs.

    Raises AssertionError where the order makes a difference, which is a race.
    """
    return _same(*(run_once(function, inputs, outputs, backward=way) for way in (False, True)))


def run_in_place(function: Function, arguments: list[Any]) -> list[Array]:
    """Call a kernel on copies of arrays, its threads in either order; return them all.

    Raises AssertionError where the order makes a difference.
    """
    return _same(*(run_in_place_once(function, arguments, backward=way) for way in (False, True)))


def _same(found: list[Array], other: list[Array]) -> list[Array]:
    for place, (one, two) in enumerate(zip(found, other, strict=True)):
        np.testing.assert_array_equal(one, two, f"array {place} depends on the order of threads")
    return found
