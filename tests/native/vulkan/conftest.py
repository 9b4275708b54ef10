"""The device of the Vulkan tests: the first that is there, Mesa's software one at worst."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


@pytest.fixture(autouse=True)
def _own_pipeline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's pipeline cache out of the tests."""
    monkeypatch.setenv("FERRY_VULKAN_CACHE", str(tmp_path / "pipelines"))


@pytest.fixture(scope="session")
def stand_in_loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the loader that makes chosen calls fail."""
    from vulkan_stand_in import build_stand_in

    return build_stand_in(tmp_path_factory.mktemp("stand_in"))


@pytest.fixture
def device() -> object:
    """Return TVM's Vulkan device number 0; a machine without one fails, with the reason."""
    import tvm

    from ferrylm.runtime import vulkan_backend

    gc.collect()  # what earlier tests held must not be freed in the middle of this one
    found = tvm.vulkan(0)
    assert found.exist, vulkan_backend.load_failure() or vulkan_backend.loader_report()["reason"]
    assert os.environ["FERRY_VULKAN_CACHE"]
    return found
