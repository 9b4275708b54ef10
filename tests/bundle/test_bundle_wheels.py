"""Wheels come from a folder, through pip, which knows the rules of their names; no network."""

from __future__ import annotations

import platform
import zipfile
from pathlib import Path

import pytest

from ferrylm.bundle.distributions import Distribution
from ferrylm.bundle.wheels import fetch
from ferrylm.errors import BundleError

DEMO = Distribution("ferrylm-demo-thing", "1.0")
INFO = "ferrylm_demo_thing-1.0.dist-info"


def write_wheel(folder: Path, tag: str) -> None:
    """Write a wheel of DEMO whose one module names the wheel's tag."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"ferrylm_demo_thing-1.0-{tag}.whl", "w") as wheel:
        wheel.writestr("ferrylm_demo_thing.py", tag)
        wheel.writestr(f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: ferrylm-demo-thing\n"
                       "Version: 1.0\nRequires-Dist: ferrylm-not-there\n")  # fmt: skip
        wheel.writestr(f"{INFO}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        wheel.writestr(f"{INFO}/RECORD", "")


def tag_of(python: str) -> str:
    """Return the tag of a binary wheel for a version of Python."""
    return f"cp{python}-cp{python}-manylinux_2_17_{platform.machine()}"


def test_each_python_gets_its_own_wheel_and_nothing_that_it_depends_on(tmp_path: Path) -> None:
    for python in ("310", "314"):
        write_wheel(tmp_path / "wheels", tag_of(python))
    for python in ("3.10", "3.14"):
        (tmp_path / "out").mkdir(exist_ok=True)
        found = fetch([DEMO], python, tmp_path / "out", wheels=tmp_path / "wheels", offline=True)
        assert list(found) == ["ferrylm_demo_thing"]
        module = found["ferrylm_demo_thing"] / "ferrylm_demo_thing.py"
        assert module.read_text() == tag_of(python.replace(".", ""))


def test_a_missing_wheel_is_named_with_its_python(tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", tag_of("310"))
    with pytest.raises(BundleError, match=r"Python 3\.12.*ferrylm-demo-thing==1\.0") as caught:
        fetch([DEMO], "3.12", tmp_path, wheels=tmp_path / "wheels", offline=True)
    assert "--offline" in caught.value.fix


def test_without_pip_the_fix_is_to_get_it_or_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BundleError, match="ensurepip"):
        fetch([DEMO], "3.12", tmp_path)
