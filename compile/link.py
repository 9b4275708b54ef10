"""Linking of object files into a shared library, for any machine, by the LLD of `ziglang`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ferrylm.errors import CompileError

_EMULATIONS = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux"}


def link_shared(output: Path, objects: Sequence[Path], machine: str) -> None:
    """Link objects into the shared library `output`; equal objects give equal bytes.

    Nothing is linked in: what the kernels still call (memcpy, memset) is in the C library of the
    process that loads them. Raises CompileError.
    """
    command = [
        *(sys.executable, "-m", "ziglang", "ld.lld"),
        *("-shared", "-m", _EMULATIONS[machine], "--build-id=none", "--hash-style=gnu"),
        *("--gc-sections", "--strip-all", "-z", "noexecstack", "-z", "relro"),
        *("-o", str(output), *map(str, objects)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_linker(str(error)) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise _no_linker(lines[-1])


def _no_linker(found: str) -> CompileError:
    return CompileError(
        f"the linker failed: {found}",
        wanted="the LLD of the package ziglang",
        fix="install ferrylm[compile]",
    )
