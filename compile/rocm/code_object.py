"""One code object: lowered device functions as machine code of one AMD chip or family.

Everything is LLVM 22 of the TVM wheel and LLD of `ziglang`; no ROCm, no device library:

1. `lower_operations` names the operations of ours;
2. TVM's AMD generator makes LLVM text, without optimizing (`target.build.llvm`);
3. `llvm_text` adds bodies, launch bounds and the code object version;
4. TVM's ROCm build takes that text as if it were a device library, optimizes and assembles it;
5. LLD links it into a shared object, as HIP loads it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm.support import rocm as _tvm_rocm  # noqa: F401  (registers what is replaced below)

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.llvm_text import finish, kernel_names, without_flags
from ferrylm.compile.rocm.lower_operations import block_extents, lower_operations
from ferrylm.compile.rocm.matrix_tiles import with_matrix_tiles
from ferrylm.errors import CompileError

_TRIPLE = "amdgcn-amd-amdhsa-hcc"
_LINKER_SECONDS = 300
# TVM's own build, before `module.py` puts ours in its place.
_tvm_build = tvm.get_global_func("target.build.rocm")


@dataclass(frozen=True)
class CodeObject:
    """A linked code object and the assembly that it was made of."""

    architecture: str
    code: bytes
    assembly: str


def rocm_target(arch: Architecture) -> Any:
    """Return TVM's target for the architecture."""
    with quiet():
        return tvm.target.Target(
            {
                "kind": "rocm",
                "mtriple": _TRIPLE,
                "mcpu": arch.name,
                "mattr": list(arch.features),
                "thread_warp_size": arch.wave,
                "max_num_threads": 1024,
                "max_threads_per_block": 1024,
                "max_shared_memory_per_block": arch.lds_bytes,
            }
        )


def kernel_text(module: Any, arch: Architecture) -> str:
    """Return lowered device functions as finished, unoptimized LLVM text. Raises CompileError."""
    blocks = {
        str(variable.name_hint): block_extents(func)
        for variable, func in module.functions.items()
        if _is_kernel(func)
    }
    with quiet():
        text = _generate(module, arch)
    return finish(without_flags(text), arch, blocks)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep TVM's warnings that there is no AMD GPU here away from the user's terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _is_kernel(func: Any) -> bool:
    return "calling_conv" in func.attrs and int(func.attrs["calling_conv"]) == 2


def _generate(module: Any, arch: Architecture) -> str:
    """Return unoptimized LLVM text of the functions."""
    rocm_codegen = tvm.get_global_func("tvm.codegen.llvm.target_rocm")
    # The class is chosen by LLVM's name of the target; TVM registered it under its own.
    tvm.register_global_func("tvm.codegen.llvm.target_amdgcn", rocm_codegen, override=True)
    lowered = with_matrix_tiles(lower_operations(module), arch)
    target = tvm.target.Target(
        {
            "kind": "llvm",
            "mtriple": _TRIPLE,
            "mcpu": arch.name,
            "mattr": list(arch.features),
            "opt-level": 0,
        }
    )
    built = tvm.get_global_func("target.build.llvm")(lowered, target)
    return str(built.inspect_source("ll"))


def assemble(text: str, arch: Architecture) -> CodeObject:
    """Optimize, assemble and link finished LLVM text. Raises CompileError.

    LLVM ends the process when it cannot select an instruction, and prints as it likes, so
    `code_objects` runs this in a process of its own.
    """
    with tempfile.TemporaryDirectory(prefix="ferrylm-") as folder:
        source = Path(folder) / "kernels.ll"
        source.write_text(text)
        linked = Path(folder) / "kernels.co"
        exports = Path(folder) / "exports"
        names = [f"{name}; {name}.kd;" for name in kernel_names(text)]

        def link(object_code: bytes) -> bytes:
            relocatable = Path(folder) / "kernels.o"
            relocatable.write_bytes(bytes(object_code))
            exports.write_text(f"{{ global: {' '.join(names)} local: *; }};\n")
            _link(relocatable, exports, linked)
            return linked.read_bytes()

        callbacks = {
            "tvm_callback_rocm_bitcode_path": lambda: tvm.runtime.convert([str(source)]),
            "tvm_callback_rocm_link": link,
        }
        before = {name: tvm.get_global_func(name) for name in callbacks}
        for name, function in callbacks.items():
            tvm.register_global_func(name, function, override=True)
        try:
            built = _tvm_build(tvm.IRModule(), rocm_target(arch))
        finally:
            for name, function in before.items():
                tvm.register_global_func(name, function, override=True)
        return CodeObject(arch.name, linked.read_bytes(), str(built.inspect_source("asm")))


def _link(relocatable: Path, exports: Path, output: Path) -> None:
    command = [
        *(sys.executable, "-m", "ziglang", "ld.lld", "-shared", "--no-undefined"),
        *("--build-id=none", "--hash-style=gnu", "--gc-sections", "--strip-all"),
        # TVM adds host helpers for half precision again; what is not exported goes.
        f"--version-script={exports}",
        *("-o", str(output), str(relocatable)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LINKER_SECONDS, check=False
        )
        found = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        found, failed = str(error), True
    if failed:
        raise CompileError(
            f"the linker failed: {found}",
            wanted="the LLD of the package ziglang",
            fix="install ferrylm[compile]",
        )
