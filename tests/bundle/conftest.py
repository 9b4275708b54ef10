from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from artifact_samples import write_sample

from ferrylm.bundle.tree import BundleTree, Member
from tests.engine.conftest import build

__all__ = ["build"]  # the session's compiled artifacts


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Return the folder of a small artifact whose libraries hold no code."""
    write_sample(tmp_path / "sample")
    return tmp_path / "sample"


@pytest.fixture
def small_tree() -> BundleTree:
    tree = BundleTree()
    tree.add("b/two", Member(b"2" * 70000))
    tree.add("a one", Member(b"1", executable=True))
    return tree


@pytest.fixture(params=[".tar.gz", ".tar.zst"])
def suffix(request: pytest.FixtureRequest) -> str:
    """Return an archive's suffix; zstd is skipped where Python lacks it."""
    names = ("zstandard", "compression.zstd")
    if request.param == ".tar.zst" and not any(_has_module(name) for name in names):
        pytest.skip("no zstd in this Python")
    return str(request.param)


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
