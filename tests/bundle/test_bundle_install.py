"""The scripts of a bundle: which Python they take, how they install, and what they refuse."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ferrylm.bundle.archive import write_archive
from ferrylm.bundle.bundler import FACTS, _add_scripts
from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.runtime.progress import ignore_progress

WEIGHTS = b"weights" * 1000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def unpacked(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """Return a bundle of scripts and one file, without packages, for the running Python."""
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    facts = {
        "name": name, "machine": platform.machine(), "glibc": "2.17", "weights_apart": [],
        "packages": {running: ["packages/common"]}, **changes,
    }  # fmt: skip
    tree = BundleTree()
    tree.add(FACTS, Member(json.dumps(facts).encode()))
    tree.add("artifact/manifest.json", Member(b"{}"))
    _add_scripts(tree)
    folder.mkdir(exist_ok=True)
    write_archive(tree, "bundle", folder / "bundle.tar.gz", ignore_progress)
    subprocess.run(["tar", "-xzf", "bundle.tar.gz"], cwd=folder, check=True)
    return folder / "bundle"


def run(home: Path, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a clean environment and the running Python."""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "FERRY_PYTHON": sys.executable}
    return subprocess.run(
        [str(part) for part in command],
        env={**environment, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def files_below(folder: Path) -> set[str]:
    """Return the paths of all files and links below a folder, but what Python caches."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {p for p in found if not (folder / p).is_dir() and "__pycache__" not in p}


def test_install_makes_a_folder_and_a_link_and_uninstall_removes_both(
    tmp_path: Path, home: Path
) -> None:
    bundle = unpacked(tmp_path / "there")
    done = run(home, bundle / "install.sh")
    assert (done.returncode, done.stderr) == (0, "")
    folder = home / ".local/share/ferrylm/bundles/tiny"
    assert files_below(folder) == files_below(bundle)
    link = home / ".local/bin/ferry-tiny"
    assert os.readlink(link) == str(folder / "ferry")
    assert os.access(folder / "ferry", os.X_OK)
    assert run(home, folder / "uninstall.sh").returncode == 0
    assert files_below(home) == set()


def test_a_second_install_replaces_the_first(tmp_path: Path, home: Path) -> None:
    assert run(home, unpacked(tmp_path / "a") / "install.sh").returncode == 0
    stale = home / ".local/share/ferrylm/bundles/tiny/stale"
    stale.write_text("")
    assert run(home, unpacked(tmp_path / "b") / "install.sh").returncode == 0
    assert not stale.exists()
    assert len(list(stale.parent.parent.iterdir())) == 1


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_bundle_is_refused_and_nothing_is_installed(
    tmp_path: Path, home: Path, damage: str
) -> None:
    bundle = unpacked(tmp_path / "there")
    if damage == "changed":
        (bundle / "artifact/manifest.json").write_text("{ ")
    else:
        (bundle / "artifact/manifest.json").unlink()
    for command in ([bundle / "install.sh"], [bundle / "install.sh", "--check"]):
        done = run(home, *command)
        assert done.returncode == 1
        assert done.stderr.startswith("error: artifact/manifest.json: ")
        assert files_below(home) == set()


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path, home: Path) -> None:
    link = home / ".local/bin/ferry-tiny"
    link.parent.mkdir(parents=True)
    link.write_text("mine")
    done = run(home, unpacked(tmp_path / "there") / "install.sh")
    assert done.returncode == 1
    assert "is not of this bundle" in done.stderr
    assert files_below(home) == {".local/bin/ferry-tiny"}


def test_weights_come_from_another_folder_and_stay_at_the_next_install(
    tmp_path: Path, home: Path
) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    entry = {"path": "weights.safetensors", "size_bytes": len(WEIGHTS), "sha256": digest}
    bundle = unpacked(tmp_path / "there", weights_apart=[entry])
    elsewhere = tmp_path / "artifact"
    elsewhere.mkdir()
    refused = run(home, bundle / "install.sh")
    assert refused.returncode == 1
    assert "--weights DIR" in refused.stderr
    (elsewhere / entry["path"]).write_bytes(b"others")
    wrong = run(home, bundle / "install.sh", "--weights", elsewhere)
    assert wrong.returncode == 1
    assert files_below(home) == set()
    (elsewhere / str(entry["path"])).write_bytes(WEIGHTS)
    assert run(home, bundle / "install.sh", "--weights", elsewhere).returncode == 0
    installed = home / ".local/share/ferrylm/bundles/tiny/artifact/weights.safetensors"
    assert installed.read_bytes() == WEIGHTS
    assert run(home, bundle / "install.sh").returncode == 0
    assert installed.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"packages": {"3.99": []}}, "is Python 3."),
        ({"machine": "riscv64"}, f"runs on {platform.machine()}, not riscv64"),
        ({"glibc": "9.1"}, "older than 9.1"),
    ],
)
def test_a_python_or_machine_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, home: Path, changes: dict[str, Any], reason: str
) -> None:
    done = run(home, unpacked(tmp_path / "there", **changes) / "ferry", "--version")
    assert done.returncode == 1
    assert reason in done.stderr
    assert "FERRY_PYTHON" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_first_python_that_fits_is_taken(tmp_path: Path, home: Path) -> None:
    bundle = unpacked(tmp_path / "there")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text("#!/bin/sh\necho is Python 3.9\nexit 1\n")
    (programs / "python3.12").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    path = f"{programs}:/usr/bin:/bin"
    done = run(home, bundle / "install.sh", "--check", FERRY_PYTHON="", PATH=path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_home_folder_that_is_not_there_is_an_error(tmp_path: Path, home: Path) -> None:
    done = run(home, unpacked(tmp_path / "there") / "install.sh", HOME=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "wanted your home folder" in done.stderr
