"""The native libraries load wherever they and TVM's libraries lie."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ferrylm.runtime import hip_backend, vulkan_backend

BACKENDS = {"vulkan": vulkan_backend, "hip": hip_backend}
# The first question about a device, from a process that has not imported TVM.
_LOAD = """
import pathlib, sys
from ferrylm.runtime import {kind}_backend as backend
backend.library_path = lambda: pathlib.Path({path!r})
assert "tvm" not in sys.modules
print(backend.load_failure())
print(backend.loader_report().keys() > {{"devices"}})
"""


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("runtime_only", ["0", "1"])
def test_a_library_far_from_tvm_loads_without_help_from_the_environment(
    kind: str, runtime_only: str, tmp_path: Path
) -> None:
    installed = BACKENDS[kind].library_path()
    assert installed is not None
    alone = shutil.copy(installed, tmp_path / installed.name)
    environment = {**os.environ, "TVM_USE_RUNTIME_LIB": runtime_only}
    environment.pop("LD_LIBRARY_PATH", None)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD.format(kind=kind, path=str(alone))],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "\nTrue\n"), done.stderr


def wanted_glibc(library: Path) -> tuple[int, int]:
    """Return the newest version of glibc's symbols among the texts of an ELF file."""
    found = re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)", library.read_bytes())
    return max((int(major), int(minor)) for major, minor in found)


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_library_loads_wherever_tvm_does_whatever_the_age_of_the_system(kind: str) -> None:
    installed = BACKENDS[kind].library_path()
    tvm = find_spec("tvm")
    assert installed is not None
    assert tvm is not None
    assert tvm.origin is not None
    runtime = Path(tvm.origin).parent / "lib/libtvm_runtime.so"
    assert wanted_glibc(installed) <= wanted_glibc(runtime)
    # Its C++ library is inside: a release of GCC later than the system's would be wanted else.
    assert b"libstdc++.so" not in installed.read_bytes()
    assert b"GLIBCXX_" not in installed.read_bytes()
