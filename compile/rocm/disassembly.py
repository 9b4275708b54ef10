"""Disassemble code objects with llvm-objdump, where one is installed that knows the chip.

LLVM 19 or newer is needed for gfx12 and the families (Debian: llvm-19); ROCm brings one as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.errors import CompileError

_CANDIDATES = (
    *("llvm-objdump-22", "llvm-objdump-21", "llvm-objdump-20", "llvm-objdump-19"),
    *("/opt/rocm/llvm/bin/llvm-objdump", "/opt/rocm/lib/llvm/bin/llvm-objdump", "llvm-objdump"),
)
_SECONDS, _OLDEST = 60, 19


def find_disassembler() -> str | None:
    """Return the path of an llvm-objdump of LLVM 19 or newer, None when there is none."""
    found = (path for name in _CANDIDATES if (path := shutil.which(name)))
    return next((path for path in found if _release(path) >= _OLDEST), None)


def _release(path: str) -> int:
    """Return LLVM's major version, 0 where the program does not tell."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"LLVM version (\d+)", done.stdout)
    return int(match[1]) if match is not None else 0


def disassemble(code: bytes, arch: Architecture, disassembler: str) -> Mapping[str, list[str]]:
    """Return each function's instructions. Raises CompileError when a byte is no instruction."""
    chip = arch.members[0] if arch.is_generic else arch.name
    with tempfile.TemporaryDirectory(prefix="ferrylm-") as folder:
        path = Path(folder) / "code"
        path.write_bytes(code)
        command = [disassembler, "-d", "--no-show-raw-insn", "--no-leading-addr"]
        command += ["--triple=amdgcn-amd-amdhsa", f"--mcpu={chip}"]
        command.append(str(path))
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    if done.returncode != 0:
        raise _no_code(arch, (done.stderr.strip().splitlines() or ["no message"])[-1])
    functions: dict[str, list[str]] = {}
    current: list[str] = []
    for line in done.stdout.splitlines():
        label = re.match(r"^(?:[0-9a-f]+ )?<([^>]+)>:$", line)
        if label is not None:
            current = functions.setdefault(label[1], [])
        elif line.startswith(("\t", " ")) and line.strip():
            instruction = line.split("//")[0].strip()
            if instruction.startswith((".long", "<unknown>", ".byte")):
                raise _no_code(arch, f"{instruction} is no instruction")
            current.append(instruction)
    return {name: _without_padding(code) for name, code in functions.items()}


def _without_padding(instructions: list[str]) -> list[str]:
    """Leave out what LLVM fills the space behind a function with, for the instruction prefetch."""
    end = len(instructions)
    while end and instructions[end - 1] in ("s_code_end", "s_nop 0"):
        end -= 1
    return instructions[:end]


def _no_code(arch: Architecture, found: str) -> CompileError:
    return CompileError(
        f"the code for {arch.name} does not disassemble: {found}",
        wanted="machine code of that chip",
        fix="use an llvm-objdump of LLVM 19 or newer",
    )
