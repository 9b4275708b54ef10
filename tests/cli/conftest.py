from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from artifact_samples import write_sample
from cli_fakes import Ended, FakeModel, Ferry
from click.testing import CliRunner

import ferrylm
from ferrylm.cli import application


@pytest.fixture
def ferry(monkeypatch: pytest.MonkeyPatch) -> Ferry:
    """Return a function that runs the command line in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, stdin: str | bytes | None = None) -> Ended:
        result = CliRunner().invoke(application.ferry, list(arguments), input=stdin)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Return the folder of a small artifact whose libraries hold no code."""
    write_sample(tmp_path / "sample")
    return tmp_path / "sample"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """Return the fake model that the command line will load, whatever it asks for."""
    fake = FakeModel()

    def load(path: Path, **options: Any) -> FakeModel:
        fake.loaded.append((path, options))
        return fake

    monkeypatch.setitem(ferrylm.__dict__, "load", load)
    return fake
