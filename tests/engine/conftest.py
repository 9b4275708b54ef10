from __future__ import annotations

from collections.abc import Iterator

import pytest

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import Engine
from tests.engine.built_artifacts import Build, builder, host_profiles
from tests.engine.opened import OpenEngine, opener


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Give the artifact of a recipe by its name; workers of one session share the folder."""
    if not host_profiles():
        pytest.skip("no profile has what this machine runs")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-gw") else base
    (shared / "artifacts").mkdir(exist_ok=True)
    return builder(shared / "artifacts")


@pytest.fixture
def open_engine(build: Build) -> Iterator[OpenEngine]:
    """Open an engine of a recipe; all are closed after the test."""
    with opener(build) as open_one:
        yield open_one


@pytest.fixture
def plain(open_engine: OpenEngine) -> tuple[Artifact, Engine]:
    """Return artifact and engine of the float32 model."""
    return open_engine("plain", max_sequences=9)
