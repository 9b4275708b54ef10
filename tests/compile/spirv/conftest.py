"""The code generator's tests run on Vulkan device 0: Mesa's software one at worst."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


@pytest.fixture(autouse=True)
def _own_pipeline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's pipeline cache out of the tests."""
    monkeypatch.setenv("FERRY_VULKAN_CACHE", str(tmp_path / "pipelines"))


@pytest.fixture(scope="session")
def vulkan() -> object:
    """Return TVM's Vulkan device number 0; a machine without one fails, with the reason."""
    import tvm

    from ferrylm.runtime import vulkan_backend

    found = tvm.vulkan(0)
    assert found.exist, vulkan_backend.load_failure() or vulkan_backend.loader_report()["reason"]
    return found
