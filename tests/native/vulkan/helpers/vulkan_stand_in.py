"""Builds the stand-in loader, and runs cases under it in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FAULT_LAYER = Path(__file__).parents[1] / "fault_layer"
HEADERS = Path(__file__).parents[4] / "native" / "third_party" / "vulkan_headers"
CASES = Path(__file__).with_name("vulkan_fault_cases.py")


def build_stand_in(folder: Path) -> Path:
    """Compile the stand-in loader and return its file."""
    library = folder / "libvulkan_stand_in.so"
    compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
    sources = sorted(str(path) for path in FAULT_LAYER.glob("*.cc"))
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(
        [compiler, *flags, "-isystem", str(HEADERS), *sources, "-ldl", "-o", str(library)],
        check=True,
    )
    return library


def run_case(case: str, loader: Path | str, cache: Path, **environment: str) -> str:
    """Run a function of vulkan_fault_cases.py in a new process and return what it printed.

    A crash, a failed assertion or a hang fails the test with the process's output.
    """
    run = subprocess.run(
        [sys.executable, str(CASES), case],
        env={
            **os.environ,
            "TVM_USE_RUNTIME_LIB": "1",  # starts in a third of the time
            "FERRY_VULKAN_LOADER": str(loader),
            "FERRY_VULKAN_CACHE": str(cache),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, f"{case} ended with {run.returncode}:\n{run.stdout}{run.stderr}"
    return run.stdout
