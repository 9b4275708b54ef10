"""Builds the stand-ins for NVIDIA's driver and CUDA runtime with the system's C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "stand_in_cuda"
DRIVER, RUNTIME = "libcuda.so.1", "libcudart.so.13"


def build_stand_ins(folder: Path) -> Path:
    """Return a folder with both libraries, made anew; skips the test where there is no cc."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    versions = folder / "versions"
    versions.write_text(f"{RUNTIME} {{ global: *; }};\n")
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra"]
    for source, name, more in (
        ("driver.c", DRIVER, []),
        ("runtime.c", RUNTIME, [f"-Wl,--version-script={versions}"]),
    ):
        subprocess.run(
            [*command, f"-Wl,-soname,{name}", *more, "-o", folder / name, SOURCES / source],
            check=True,
        )
    return folder
