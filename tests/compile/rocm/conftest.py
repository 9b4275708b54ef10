"""Kernels compiled once for all tests: for every architecture that is known."""

from __future__ import annotations

import pytest
import rocm_kernels

from ferrylm.compile.rocm.architectures import ARCHITECTURES


@pytest.fixture(scope="session")
def everything() -> rocm_kernels.BuiltKernels:
    """Return kernels with lanes, LDS, halves, dot products and mathematics, for all chips."""
    module = rocm_kernels.everything_module()
    return rocm_kernels.build(module, tuple(ARCHITECTURES.values()))
