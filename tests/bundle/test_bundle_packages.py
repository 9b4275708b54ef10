"""The packages of a bundle: wheels of several Pythons in one folder, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ferrylm.bundle import packages
from ferrylm.bundle.distributions import NUMPY, Distribution, distributions
from ferrylm.bundle.options import PYTHONS, BundleOptions
from ferrylm.bundle.packages import COMMON, add_packages
from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.errors import BundleError
from ferrylm.runtime.progress import ignore_progress

ONE = Distribution("one-thing", "1.0", drop=("one_thing/extra/*",), may_differ=("one_thing/c.py",))
TWO = Distribution("two", "2.0", {"3.10": "1.9"})


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that adds made-up wheels of ONE and TWO for 3.10, 3.11 and 3.14."""
    content: dict[str, str] = {}

    def fetch(wanted: Any, python: str, folder: Path, **_: Any) -> dict[str, Path]:
        found = {}
        for name in ("one_thing", "two"):
            root = folder / python / name
            (root / name / "extra").mkdir(parents=True)
            digits = python.replace(".", "")
            (root / name / f"core.cpython-{digits}.so").write_text(python)
            (root / name / "__init__.py").write_text(content.get(python, "same"))
            (root / name / "c.py").write_text(python if name == "one_thing" else "same")
            (root / name / "extra" / "x.py").write_text("")
            found[name] = root
        return found

    monkeypatch.setattr(packages, "fetch", fetch)
    monkeypatch.setattr(packages, "distributions", lambda *_: (ONE, TWO))
    monkeypatch.setattr(packages, "installed_version", lambda _: "1")
    for name in ("add_ferrylm", "add_tvm"):
        monkeypatch.setattr(packages, name, lambda *_: None)

    def add(**initial: str) -> tuple[set[str], dict[str, list[str]]]:
        content.update({key.replace("_", "."): value for key, value in initial.items()})
        tree = BundleTree()
        options = BundleOptions(tmp_path, tmp_path, pythons=("3.10", "3.11", "3.14"))
        folders = add_packages(tree, options, frozenset(), tmp_path, ignore_progress)
        return {path for path, _ in tree.items()}, folders

    return add


def test_wheels_of_one_release_share_a_folder_and_others_have_their_own(bundled: Any) -> None:
    paths, folders = bundled()
    assert {p for p in paths if p.startswith(COMMON)} == {
        f"{COMMON}/one_thing/{name}"
        for name in (
            "__init__.py", "c.py", "core.cpython-310.so", "core.cpython-311.so",
            "core.cpython-314.so",
        )
    }  # fmt: skip
    assert "packages/two-1.9/two/core.cpython-310.so" in paths
    assert "packages/two-2.0/two/core.cpython-310.so" not in paths
    assert "packages/two-2.0/two/core.cpython-314.so" in paths
    assert folders == {
        "3.10": ["packages/two-1.9", COMMON],
        "3.11": ["packages/two-2.0", COMMON],
        "3.14": ["packages/two-2.0", COMMON],
    }


def test_wheels_that_differ_in_a_module_are_not_mixed(bundled: Any) -> None:
    with pytest.raises(BundleError, match=r"two different files for .*__init__\.py"):
        bundled(**{"3_14": "other"})


def test_every_python_has_one_of_two_releases_of_numpy() -> None:
    assert {NUMPY.version_for(python) for python in PYTHONS} == {"2.2.6", "2.3.5"}


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("numpy/_core/_multiarray_umath.cpython-310-x86_64-linux-gnu.so", True),
        ("numpy.libs/libscipy_openblas64_-fdde5778.so", True),
        ("numpy-2.3.5.dist-info/LICENSE.txt", True),
        ("numpy-2.3.5.dist-info/METADATA", True),
        ("numpy-2.3.5.dist-info/RECORD", False),
        ("numpy/_core/tests/test_api.py", False),
        ("numpy/__init__.pyi", False),
        ("numpy/__pycache__/x.pyc", False),
        ("../../../bin/numpy-config", False),
    ],
)
def test_libraries_and_licenses_stay_and_tests_go(path: str, kept: bool) -> None:
    assert NUMPY.keeps(path) is kept


def test_only_cuda_brings_its_runtime_library() -> None:
    def names(*kinds: str) -> set[str]:
        return {item.name for item in distributions("1", frozenset(kinds))}

    assert names("cpu", "cuda") - names("cpu", "vulkan", "rocm") == {"nvidia-cuda-runtime"}


def test_the_newest_glibc_symbol_of_the_libraries_counts() -> None:
    tree = BundleTree()
    tree.add("packages/a/x.so", Member(b"\0GLIBC_2.4\0GLIBC_2.17\0GLIBCXX_3.4.30\0"))
    tree.add("packages/a/y.so.1", Member(b"..\0GLIBC_2.3.4\0GLIBC_2.28\0"))
    tree.add("packages/a/z.txt", Member(b"\0GLIBC_2.90\0"))
    tree.add("packages/ferrylm/native/v.so", Member(b"\0GLIBC_2.80\0"))
    assert tree.needed_glibc("packages", without="/native/") == (2, 28)
