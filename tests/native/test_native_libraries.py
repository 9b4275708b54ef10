"""The native libraries load wherever they and TVM's libraries lie."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
