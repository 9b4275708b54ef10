"""The model of AMD's instructions as a library, and a library for each set of kernels."""

from __future__ import annotations

import ctypes
import functools
import hashlib
from pathlib import Path

import tvm

from ferrylm.compile.rocm.architectures import Architecture
from tests.support.amd_emulator.host_text import for_host
from tests.support.cuda_emulator import compiler

HERE = Path(__file__).parent


@functools.cache
def instructions() -> ctypes.CDLL:
    """Return the library of instructions, which needs the one of fibers and launches."""
    compiler.emulator()
    target = compiler.folder() / "libinstructions.so"
    sources = map(str, sorted(HERE.glob("*.cc")))
    compiler.compile_library([*sources, "-O2", "-Wall", "-Wextra", f"-I{HERE}"], target)
    ctypes.CDLL("libm.so.6", ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(target), ctypes.RTLD_GLOBAL)


def load(text: str, arch: Architecture) -> ctypes.CDLL:
    """Return the library of finished LLVM text for a chip."""
    instructions()
    host = for_host(text)
    stem = hashlib.sha256(f"{arch.name}{host}".encode()).hexdigest()[:16]
    source = compiler.folder() / f"{stem}.ll"
    source.write_text(host)
    compiled, target = source.with_suffix(".o"), source.with_suffix(".so")
    tvm.runtime.load_module(str(source)).write_to_file(str(compiled), "o")
    compiler.compile_library([str(compiled)], target)
    return ctypes.CDLL(str(target))
