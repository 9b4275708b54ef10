from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from artifact_samples import change_manifest
from cli_fakes import Ferry

from ferrylm.runtime import verification


@dataclass(frozen=True)
class FakeCheck:
    name: str
    passed: bool
    detail: str


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> list[FakeCheck]:
    """Return the list of checks that the replay of golden data will report."""
    checks = [FakeCheck("kernel qkv", True, "error 0"), FakeCheck("greedy trace", True, "32 ids")]

    def verify(*_: Any, **__: Any) -> list[FakeCheck]:
        return checks

    monkeypatch.setattr(verification, "verify", verify)
    return checks


def test_a_whole_artifact_passes(ferry: Ferry, artifact: Path, replay: list[FakeCheck]) -> None:
    ended = ferry("verify", str(artifact))
    assert ended.code == 0, ended.stderr
    assert "9 checks, all passed" in ended.stdout
    assert "greedy trace" in ended.stdout


def test_every_differing_file_is_named_and_no_code_is_run(
    ferry: Ferry, artifact: Path, monkeypatch: pytest.MonkeyPatch, replay: list[FakeCheck]
) -> None:
    libraries = sorted(artifact.glob("*.so"))
    libraries[0].write_bytes(b"not an elf 0")
    libraries[1].unlink()
    ended = ferry("verify", str(artifact))
    assert ended.code == 1
    differing = [line for line in ended.stdout.splitlines() if line.startswith("differs")]
    assert len(differing) == 2
    for library in libraries:
        assert any(library.name in line for line in differing)
    assert "7 checks, 2 differ" in ended.stdout
    assert "greedy trace" not in ended.stdout


def test_a_differing_result_is_named(ferry: Ferry, artifact: Path, replay: list[FakeCheck]) -> None:
    replay.append(FakeCheck("kernel head", False, "error 0.3, at most 0.01"))
    ended = ferry("verify", str(artifact))
    assert ended.code == 1
    assert "differs  kernel head  error 0.3, at most 0.01" in ended.stdout


def test_files_only_runs_nothing(ferry: Ferry, artifact: Path, replay: list[FakeCheck]) -> None:
    replay.append(FakeCheck("kernel head", False, "x"))
    ended = ferry("verify", str(artifact), "--files-only")
    assert ended.code == 0
    assert "7 checks, all passed" in ended.stdout


def test_an_artifact_without_golden_data_says_that_nothing_was_replayed(
    ferry: Ferry, artifact: Path, replay: list[FakeCheck]
) -> None:
    change_manifest(artifact, ("golden",), None)
    replay.append(FakeCheck("kernel head", False, "x"))
    ended = ferry("verify", str(artifact))
    assert ended.code == 0
    assert "no golden data" in ended.stderr
    document = ferry("verify", str(artifact), "--json").document
    assert (document["passed"], document["golden"]) == (True, False)


def test_json_lists_all_checks(ferry: Ferry, artifact: Path, replay: list[FakeCheck]) -> None:
    replay.append(FakeCheck("kernel head", False, "x"))
    ended = ferry("verify", str(artifact), "--json")
    assert ended.code == 1
    assert ended.document["passed"] is False
    assert len(ended.document["checks"]) == 10
    assert ended.document["checks"][-1] == {"name": "kernel head", "passed": False, "detail": "x"}


def test_a_folder_that_is_no_artifact_is_an_error(ferry: Ferry, tmp_path: Path) -> None:
    ended = ferry("verify", str(tmp_path))
    assert ended.code == 1
    assert "manifest.json" in ended.stderr
