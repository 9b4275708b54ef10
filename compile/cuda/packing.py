"""Putting machine code into an exported library, where TVM's CUDA runtime looks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tvm

from ferrylm.compile.cuda.architectures import Architecture
from ferrylm.compile.cuda.build_hook import read_sources
from ferrylm.compile.cuda.elf_object import object_with_bytes
from ferrylm.compile.cuda.fat_binary import make_fat_binary
from ferrylm.compile.cuda.launch_order import DEPENDENT_LAUNCH, FIRST_WITH_WAIT
from ferrylm.compile.cuda.library_bytes import (
    StoredCuda,
    StoredModule,
    read_cuda,
    read_imports,
    write_cuda,
    write_imports,
)
from ferrylm.compile.cuda.nvrtc import Report, compile_bodies
from ferrylm.compile.cuda.toolkit import Toolkit, find_toolkit
from ferrylm.errors import CompileError

_SYMBOL = "__tvm_ffi__library_bin"  # tvm/ffi/extra/module.h, tvm_ffi_library_bin


@dataclass(frozen=True)
class FatBinary:
    """The device code of one library; sizes are before compression."""

    code: bytes
    kernels: tuple[str, ...]
    size_bytes: dict[Architecture, int]


class CudaPacker:
    """A `fpack_imports` for `export_library`: compiles the kernels' sources and stores the result.

    The library then holds a CUDA module of format `fatbin`, which TVM's own CUDA runtime loads;
    nothing is left to compile. Built inside `build_hook.ahead_of_time`.
    """

    def __init__(
        self,
        architectures: Sequence[Architecture],
        machine: str,
        *,
        workers: int | None = None,
        report: Report | None = None,
    ) -> None:
        """Take the architectures, the host's machine (x86_64), and how many compile at a time."""
        self._architectures = tuple(architectures)
        self._machine = machine
        self._workers = workers
        self._report = report
        self.built: FatBinary | None = None

    def __call__(self, module: Any, system_library: bool, prefix: str, folder: str) -> str:
        """Write an object file with the stored imports of a module; return its path.

        Raises CompileError.
        """
        if system_library or prefix:
            raise _unfit("a system library")
        pack = tvm.get_global_func("runtime.ModulePackImportsToTensor")
        imports = read_imports(pack(module).numpy().tobytes())
        toolkit = find_toolkit()
        modules = tuple(self._with_code(stored, toolkit) for stored in imports.modules)
        if self.built is None:
            raise _unfit("a library without CUDA kernels")
        blob = write_imports(replace(imports, modules=modules))
        path = Path(folder) / "ferrylm_imports.o"
        path.write_bytes(object_with_bytes(_SYMBOL, blob, self._machine))
        return str(path)

    def _with_code(self, stored: StoredModule, toolkit: Toolkit) -> StoredModule:
        if stored.kind != "cuda" or stored.content is None:
            return stored
        if self.built is not None:
            raise _unfit("a library with two CUDA modules")
        module = read_cuda(stored.content)
        bodies = read_sources(module.code)
        _check_launches(module, self._architectures)
        compiled = compile_bodies(
            bodies, self._architectures, toolkit, workers=self._workers, report=self._report
        )
        code = make_fat_binary(compiled, toolkit)
        functions = tuple(sorted(module.functions, key=lambda function: function.name))
        self.built = FatBinary(
            code,
            tuple(function.name for function in functions),
            {arch: len(body) for arch, body in compiled.items()},
        )
        return StoredModule("cuda", write_cuda(replace(
            module, format="fatbin", functions=functions, code=code
        )))  # fmt: skip


def _check_launches(module: StoredCuda, architectures: Sequence[Architecture]) -> None:
    """Raise CompileError for PTX that would start early on a chip and not wait there."""
    early = [f.name for f in module.functions if DEPENDENT_LAUNCH in f.launch_tags]
    for arch in architectures:
        if early and arch.ptx and arch.number < FIRST_WITH_WAIT:
            raise CompileError(
                f"PTX for {arch.name} of {early[0]}, which may start before its predecessor ends",
                wanted=f"PTX from compute_{FIRST_WITH_WAIT} on, which knows how to wait",
                fix=f"give --cuda-arch compute_{FIRST_WITH_WAIT} instead of {arch.name}",
            )


def _unfit(found: str) -> CompileError:
    return CompileError(
        found,
        wanted="a shared library with one CUDA module",
        fix="build the model's functions for one CUDA target",
    )
