"""A damaged artifact is refused before any of its code is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ferrylm.errors import IntegrityError, NoLibraryError
from ferrylm.runtime import engine as engine_module
from ferrylm.runtime import machine
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine
from ferrylm.runtime.manifest import manifest_files
from tests.engine.built_artifacts import Build

DAMAGES = ("flipped", "truncated", "zeroed tail", "missing")


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flipped":
        data[len(data) // 2] ^= 1
    elif how == "truncated":
        del data[len(data) // 2 :]
    elif how == "zeroed tail":
        # A tail that was zero already would be no damage.
        data[-64:] = bytes(64) if any(data[-64:]) else b"\1" * 64
    if how != "missing":
        path.write_bytes(data)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_of_any_kind_is_refused_before_a_library_is_loaded(
    how: str, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: object) -> None:
        raise AssertionError("a library was loaded")

    monkeypatch.setattr(engine_module, "Executable", never)
    original = build("plain")
    with Artifact.open(original) as artifact:
        files = {entry.path for entry in manifest_files(artifact.manifest)}
    assert {name.split("-")[0] for name in files} >= {"library", "weights", "tokenizer"}
    for number, name in enumerate(sorted(files)):
        copy = tmp_path / str(number)
        shutil.copytree(original, copy)
        damage(copy / name, how)
        with Artifact.open(copy) as artifact, pytest.raises(IntegrityError, match=name[:20]):
            open_engine(artifact)


def test_two_swapped_files_are_refused(build: Build, tmp_path: Path) -> None:
    copy = tmp_path / "swapped"
    shutil.copytree(build("plain"), copy)
    library, tokenizer = next(copy.glob("library-*")), next(copy.glob("tokenizer-*"))
    library.rename(copy / "third")
    tokenizer.rename(library)
    (copy / "third").rename(tokenizer)
    with Artifact.open(copy) as artifact, pytest.raises(IntegrityError):
        open_engine(artifact)


def test_an_artifact_of_another_release_of_tvm_is_refused_before_a_library_is_loaded(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "installed_tvm", lambda: "0.99.0")
    with (
        Artifact.open(build("plain")) as artifact,
        pytest.raises(NoLibraryError, match=r"0\.99"),
    ):
        open_engine(artifact)
