"""The host's C++ compiler: the emulator's library once, and a library for each set of kernels."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ferrylm.compile.cuda.architectures import Architecture

HERE = Path(__file__).parent
INCLUDE = HERE / "include"
# Puns on vectors are how TVM loads them. Contraction would add bits that no two compilers agree on.
_FLAGS = (
    "-std=c++17", "-march=native", "-fPIC", "-shared", "-ffp-contract=off",
    "-fno-strict-aliasing", "-fwrapv", "-U_FORTIFY_SOURCE", f"-I{INCLUDE}",
)  # fmt: skip
_FIBERS = ("-O2", "-Wall", "-Wextra")
# Kernels run for milliseconds here, and half a second is what optimizing one takes. A vector at a
# wrong address (with GCC), or an index beyond a private array, ends in SIGILL.
_KERNELS = ("-O0", "-fsanitize=alignment,bounds", "-fsanitize-undefined-trap-on-error", "-w")
_GARBAGE = "-ftrivial-auto-var-init=pattern"  # from GCC 12 and Clang 8 on
_LONGEST_SHOWN = 3000
# Of a workgroup, by architecture; CUDA C++ Programming Guide, "Technical Specifications".
_SHARED_KIB = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99}


@functools.cache
def folder() -> Path:
    """Return the folder of this process's libraries."""
    path = Path(tempfile.mkdtemp(prefix="ferrylm-emulator-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def emulator() -> ctypes.CDLL:
    """Return the library of fibers, shared memory and launches."""
    target = folder() / "libemulator.so"
    compile_library([*map(str, sorted(HERE.glob("*.cc"))), *_FIBERS], target)
    library = ctypes.CDLL(str(target), ctypes.RTLD_GLOBAL)
    library.emulator_launch.restype = ctypes.c_char_p
    return library


@functools.cache
def load(source: str, architecture: Architecture) -> ctypes.CDLL:
    """Return the library of a source of `lowering.for_host`."""
    emulator()
    whole = _head(architecture) + source
    path = folder() / f"{hashlib.sha256(whole.encode()).hexdigest()[:16]}.cc"
    path.write_text(whole)
    target = path.with_suffix(".so")
    compile_library([str(path), *_KERNELS, *_garbage()], target)
    return ctypes.CDLL(str(target))


def _head(architecture: Architecture) -> str:
    number = architecture.number
    lines = [f"#define __CUDA_ARCH__ {number * 10}"]
    if architecture.suffix == "a":
        lines.append(f"#define __CUDA_ARCH_FEAT_SM{number}_ALL")
    families = sorted(header.name for header in INCLUDE.glob("ptx_*.h"))
    lines += [f'#include "{header}"' for header in ("builtins.h", *families)]
    most_bytes = _SHARED_KIB[number] << 10
    lines.append(f'extern "C" const unsigned most_shared_bytes = {most_bytes};')
    return "".join(line + "\n" for line in lines)


@functools.cache
def _garbage() -> tuple[str, ...]:
    """Return the option that fills private memory, where the compiler has it."""
    source = folder() / "empty.cc"
    source.write_text("")
    try:
        compile_library([str(source), _GARBAGE], source.with_suffix(".so"))
    except RuntimeError:
        return ()
    return (_GARBAGE,)


def compile_library(arguments: list[str], target: Path) -> None:
    """Make a shared library of sources and options. Raises RuntimeError."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
    command = [*compiler.split(), *_FLAGS, *arguments, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the host's C++ compiler failed:\n{done.stderr[:_LONGEST_SHOWN]}")
