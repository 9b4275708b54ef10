"""`ferry bundle` on the command line: what it passes on, and what it refuses at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ferrylm.bundle
from ferrylm.bundle import Bundle, BundleOptions
from ferrylm.cli import application


def ferry(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(application.ferry, ["bundle", *map(str, arguments)])


def test_every_option_is_passed_on_and_the_bundle_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[BundleOptions] = []

    def make_bundle(options: BundleOptions, _: Any) -> Bundle:
        asked.append(options)
        return Bundle(options.output, "m", ("cpu-a",), ("3.11", "3.13"), 10, 20, "2.28")

    monkeypatch.setattr(ferrylm.bundle, "make_bundle", make_bundle)
    done = ferry(
        tmp_path / "model", "-o", "m.tar.zst", "--target", "cpu, rocm", "--python", "3.11,3.13",
        "--no-weights", "--name", "m", "--wheels", tmp_path / "w", "--offline", "--json",
    )  # fmt: skip
    assert done.exit_code == 0
    assert asked == [
        BundleOptions(
            tmp_path / "model", Path("m.tar.zst"), ("cpu", "rocm"), ("3.11", "3.13"), False, "m",
            tmp_path / "w", True,
        )
    ]  # fmt: skip
    assert json.loads(done.stdout) == {
        "path": "m.tar.zst", "name": "m", "targets": ["cpu-a"], "pythons": ["3.11", "3.13"],
        "size_bytes": 10, "unpacked_bytes": 20, "glibc": "2.28",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["-o", "model.zip"], 2, ".tar.zst or .tar.gz"),
        (["-o", "m.tar.gz", "--python", "3.9"], 2, "3.10, 3.11"),
        (["-o", "m.tar.gz", "--python", "here,3.12"], 2, "3.10, 3.11"),
        (["-o", "m.tar.gz", "--target", "metal"], 2, "no library for 'metal'"),
        (["-o", "m.tar.gz", "--name", "../x"], 2, "letters, digits"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    sample: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, text: str
) -> None:
    folder = sample.parent / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = ferry(sample, *options)
    assert (done.exit_code, text in done.stderr) == (code, True), done.stderr
    assert os.listdir(folder) == []


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    done = ferry(tmp_path, "-o", tmp_path / "m.tar.gz")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []
