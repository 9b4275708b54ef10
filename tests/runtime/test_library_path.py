from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from artifact_samples import (
    change_manifest,
    entry_of,
    write_sample,
)
from file_damage import append_a_byte, flip_last_bit, zero_the_tail

from ferrylm.errors import ArtifactError, IntegrityError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import FileEntry


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    write_sample(tmp_path / "sample")
    return tmp_path / "sample"


CONSTRUCTOR = """
#include <stdio.h>
__attribute__((constructor)) static void tell(void) {
    FILE* file = fopen("%s", "w");
    if (file) fclose(file);
}
int answer(void) { return %d; }
"""


def build_library(folder: Path, answer: int) -> bytes:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = folder / f"library{answer}.c"
    source.write_text(CONSTRUCTOR % (folder / f"ran{answer}", answer))
    built = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    return built.read_bytes()


def put_library(folder: Path, data: bytes) -> FileEntry:
    entry = entry_of("cpu-x86-64-v3", ".so", data)
    (folder / entry.path).write_bytes(data)
    value = {"path": entry.path, "size_bytes": entry.size_bytes, "sha256": entry.sha256}
    change_manifest(folder, ("libraries", 0, "file"), value)
    return entry


def test_no_constructor_of_a_damaged_library_runs(sample: Path, tmp_path: Path) -> None:
    data = build_library(tmp_path, 1)
    entry = put_library(sample, data)
    with Artifact.open(sample) as artifact, artifact.library_path(entry) as path:
        assert ctypes.CDLL(str(path)).answer() == 1
    assert (tmp_path / "ran1").exists(), "the canary must sing when the library is whole"
    (tmp_path / "ran1").unlink()
    for damage in (flip_last_bit, append_a_byte, zero_the_tail):
        (sample / entry.path).write_bytes(data)
        damage(sample / entry.path)
        with Artifact.open(sample) as artifact, pytest.raises(IntegrityError):  # noqa: SIM117
            with artifact.library_path(entry) as path:
                ctypes.CDLL(str(path))
    assert not (tmp_path / "ran1").exists()


def test_a_second_library_is_never_taken_for_the_first(sample: Path, tmp_path: Path) -> None:
    """The descriptors have the same number, which is what glibc would see in /proc/self/fd."""
    for answer in (2, 3, 4):
        entry = put_library(sample, build_library(tmp_path, answer))
        with Artifact.open(sample) as artifact, artifact.library_path(entry) as path:
            assert ctypes.CDLL(str(path)).answer() == answer


def test_a_loaded_library_survives_its_file(sample: Path, tmp_path: Path) -> None:
    entry = put_library(sample, build_library(tmp_path, 5))
    with Artifact.open(sample) as artifact, artifact.library_path(entry) as path:
        loaded = ctypes.CDLL(str(path))
        os.truncate(sample / entry.path, 0)
    assert not path.exists()
    assert loaded.answer() == 5


def test_where_memory_files_are_forbidden_the_hashed_file_itself_is_loaded(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = put_library(sample, build_library(tmp_path, 6))

    def forbidden(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", forbidden)
    with Artifact.open(sample) as artifact, artifact.library_path(entry) as path:
        assert ctypes.CDLL(str(path)).answer() == 6


def test_a_machine_without_a_temporary_folder_is_told_so(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with Artifact.open(sample) as artifact, pytest.raises(ArtifactError, match="set TMPDIR"):  # noqa: SIM117
        with artifact.library_path(artifact.manifest.libraries[0].file):
            pass


def test_nothing_is_left_of_the_temporary_folder(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        with artifact.library_path(artifact.manifest.libraries[0].file) as path:
            assert path.read_bytes() == b"not an ELF 0"
        assert not path.parent.exists()
