"""What kernels need of a chip, read off their machine code by NVIDIA's own tools."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferrylm.compile.cuda.toolkit import find_program
from ferrylm.errors import ArtifactError, CompileError

TIMEOUT_SECONDS = 300
_MAGIC = (0xBA55ED50).to_bytes(4, "little") + (1).to_bytes(2, "little")
_HEADER_BYTES = 16  # magic, version 1, header size, size of what follows (8 bytes)

_FUNCTION = re.compile(r"Function (\S+):")
_USAGE = re.compile(r"\b(REG|STACK|SHARED|LOCAL|CONSTANT\[0\]):(\d+)")
_SECTION = re.compile(r"\.section\s+\.text\.(\S+?),")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ +)?([A-Z][A-Z0-9_.]*)")
_SPILL = re.compile(r"^(?:LDL|STL)\b")


@dataclass(frozen=True)
class KernelResources:
    """One kernel on one architecture; memory in bytes a thread, shared memory a workgroup."""

    kernel: str
    architecture: str  # sm_90a
    registers: int
    stack_bytes: int
    spill_instructions: int  # loads and stores of local memory
    shared_bytes: int
    constant_bytes: int
    instructions: int
    mnemonics: dict[str, int]  # how often each occurs, without modifiers


def find_fat_binary(library: bytes) -> bytes:
    """Return the fat binary inside a shared library that `packing.py` made.

    Raises ArtifactError where there is none.
    """
    at = library.find(_MAGIC)
    while at >= 0:
        header_bytes = int.from_bytes(library[at + 6 : at + 8], "little")
        size = int.from_bytes(library[at + 8 : at + 16], "little")
        end = at + header_bytes + size
        if header_bytes == _HEADER_BYTES and end <= len(library):
            return library[at:end]
        at = library.find(_MAGIC, at + 1)
    raise ArtifactError(
        "a library without a CUDA fat binary",
        wanted="one that was compiled for a target of kind cuda",
        fix="name a CUDA library",
    )


def list_entries(fat_binary: bytes) -> tuple[str, ...]:
    """Return what a fat binary holds: sm_80, sm_90a, compute_75. Raises CompileError."""
    with _stored(fat_binary) as path:
        text = _run("cuobjdump", "-lelf", "-lptx", str(path))
    kinds = {"cubin": "sm", "ptx": "compute"}
    found = re.findall(r"\.sm_(\d+[af]?)\.(cubin|ptx)\b", text)
    return tuple(f"{kinds[kind]}_{number}" for number, kind in found)


def entry_bytes(fat_binary: bytes) -> dict[str, int]:
    """Return the size of each entry before compression: sm_80, sm_90a, compute_75.

    Raises CompileError where NVIDIA's tools are absent or fail.
    """
    found = {}
    with _stored(fat_binary) as path:
        _run("cuobjdump", "-xelf", "all", "-xptx", "all", str(path), folder=path.parent)
        for file in sorted(path.parent.iterdir()):
            match = re.search(r"\.sm_(\d+[af]?)\.(cubin|ptx)$", file.name)
            if match is not None:
                kind = "sm" if match[2] == "cubin" else "compute"
                found[f"{kind}_{match[1]}"] = file.stat().st_size
    return found


def kernel_resources(fat_binary: bytes) -> list[KernelResources]:
    """Return what each kernel needs on each architecture with machine code.

    Raises CompileError where NVIDIA's tools are absent or fail.
    """
    found = []
    with _stored(fat_binary) as path:
        _run("cuobjdump", "-xelf", "all", str(path), folder=path.parent)
        for cubin in sorted(path.parent.glob("*.cubin")):
            found += list(_cubin_resources(cubin))
    return sorted(found, key=lambda one: (one.kernel, one.architecture))


def _cubin_resources(cubin: Path) -> Iterator[KernelResources]:
    architecture = cubin.name.split(".")[-2]
    mnemonics = _mnemonics(_run("nvdisasm", "-c", str(cubin)))
    name = None
    for line in _run("cuobjdump", "-res-usage", str(cubin)).splitlines():
        match = _FUNCTION.search(line)
        if match is not None:
            name = match[1]
        usage = dict(_USAGE.findall(line))
        if name is None or "REG" not in usage:
            continue
        counts = mnemonics.get(name, {})
        yield KernelResources(
            kernel=name,
            architecture=architecture,
            registers=int(usage["REG"]),
            stack_bytes=int(usage.get("STACK", 0)),
            spill_instructions=sum(n for word, n in counts.items() if _SPILL.match(word)),
            shared_bytes=int(usage.get("SHARED", 0)),
            constant_bytes=int(usage.get("CONSTANT[0]", 0)),
            instructions=sum(counts.values()),
            mnemonics=counts,
        )
        name = None


def _mnemonics(disassembly: str) -> dict[str, dict[str, int]]:
    """Count the instructions of each kernel, less the NOPs that fill up its end."""
    kernels: dict[str, dict[str, int]] = {}
    counts: dict[str, int] = {}
    for line in disassembly.splitlines():
        section = _SECTION.search(line)
        if section is not None:
            counts = kernels.setdefault(section[1], {})
        match = _INSTRUCTION.search(line)
        if match is not None and match[1] != "NOP":
            word = match[1].partition(".")[0]
            counts[word] = counts.get(word, 0) + 1
    return kernels


@contextmanager
def _stored(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ferrylm-") as folder:
        path = Path(folder) / "kernels.fatbin"
        path.write_bytes(content)
        yield path


def _run(program: str, *arguments: str, folder: Path | None = None) -> str:
    command = [str(find_program(program)), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, cwd=folder, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(program, str(error)) from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise _failed(program, lines[-1] if lines else f"exit status {done.returncode}")
    return done.stdout.decode(errors="replace")


def _failed(program: str, found: str) -> CompileError:
    return CompileError(
        f"{program} failed: {found}",
        wanted="a fat binary that NVIDIA's tools can read",
        fix="install ferrylm[cuda-inspect] afresh",
    )
