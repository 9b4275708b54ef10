"""Builds the native HIP library and its stand-in driver for tests, and runs code against them.

What TVM loads stays loaded and the stand-in's devices are chosen by its environment, so every
scenario is a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SOURCES = ROOT / "native" / "hip"
_STAND_IN = ROOT / "tests" / "native" / "hip" / "stand_in"
_FLAGS = ("-std=c++17", "-O0", "-g0", "-fPIC", "-Wall", "-Wextra", "-Werror")


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def native_library() -> Path:
    """Return libferrylm_hip, compiled from this tree."""
    tvm, ffi = _package("tvm"), _package("tvm_ffi")
    include = ("-fvisibility=hidden", "-isystem", str(tvm / "include"))
    include += ("-isystem", str(ffi / "include"))
    link = (f"-L{tvm / 'lib'}", f"-L{ffi / 'lib'}", "-ltvm_runtime", "-ltvm_ffi", "-ldl")
    return _built("libferrylm_hip.so", _SOURCES, include, (*link, "-Wl,--no-undefined"))


def stand_in_library() -> Path:
    """Return the stand-in libamdhip64."""
    return _built("libamdhip64.so", _STAND_IN, (), ())


def _built(name: str, folder: Path, include: Sequence[str], link: Sequence[str]) -> Path:
    """Compile a folder of sources, unless it was compiled before as it is now."""
    files = sorted([*folder.glob("*.cc"), *folder.glob("*.h")])
    key = hashlib.sha256(repr((include, link, _FLAGS)).encode())
    for file in files:
        key.update(file.name.encode() + file.read_bytes())
    output = ROOT / "build" / "tests" / f"hip-{key.hexdigest()[:16]}" / name
    if output.is_file():
        return output
    objects = output.parent / f"objects-{os.getpid()}"
    objects.mkdir(parents=True, exist_ok=True)

    def compile_one(source: Path) -> str:
        target = str(objects / f"{source.stem}.o")
        _run(["g++", *_FLAGS, *include, "-c", str(source), "-o", target])
        return target

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(compile_one, (file for file in files if file.suffix == ".cc")))
    temporary = objects / name
    _run(["g++", "-shared", "-o", str(temporary), *made, *link])
    temporary.replace(output)
    return output


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


_PRELUDE = """
import ctypes, json, os
import numpy as np
from pathlib import Path
from ferrylm.runtime import hip_backend
hip_backend.library_path = lambda: Path(os.environ["TEST_HIP_NATIVE"])
import tvm, tvm_ffi
assert hip_backend.load_failure() == ""
driver = None
if os.environ.get("FERRY_HIP_LIBRARY", "").endswith("libamdhip64.so"):
    driver = ctypes.CDLL(os.environ["FERRY_HIP_LIBRARY"])
    driver.stand_in_log.restype = driver.stand_in_problems.restype = ctypes.c_char_p
    driver.stand_in_used_bytes.restype = ctypes.c_ulonglong
def log(): return driver.stand_in_log().decode().splitlines()
def calls(name): return [line for line in log() if line.split()[0] == name]
def problems(): return driver.stand_in_problems().decode().splitlines()
def failing(name, error, after=0): driver.stand_in_fail(name.encode(), after, error)
"""


def run_scenario(
    code: str,
    *,
    chips: str = "gfx1100",
    memory_bytes: int = 1 << 30,
    driver: str | None = None,
    runtime_only: bool = True,
    **settings: str,
) -> None:
    """Run Python code in a process with the native library and the stand-in driver.

    `driver` replaces the stand-in's path. The code fails by raising.
    """
    environment = {
        **os.environ,
        "TEST_HIP_NATIVE": str(native_library()),
        "FERRY_HIP_LIBRARY": str(stand_in_library()) if driver is None else driver,
        "STAND_IN_CHIPS": chips,
        "STAND_IN_MEMORY": str(memory_bytes),
        "TVM_USE_RUNTIME_LIB": "1" if runtime_only else "0",
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
