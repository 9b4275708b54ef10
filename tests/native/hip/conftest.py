"""A library of AMD kernels, compiled once for all tests of the native HIP runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import rocm_kernels


@pytest.fixture(scope="session")
def increment_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library whose function `increment` adds one to float32 data, for all chips."""
    path = tmp_path_factory.mktemp("hip") / "increment.so"
    rocm_kernels.build(rocm_kernels.increment_module()).export(path)
    return path
