"""The parts of CUDA that compiling needs, as the extra `ferrylm[cuda]` installs them."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from ferrylm.errors import CompileError

# A driver refuses PTX of a toolkit newer than itself, so 13.0 serves every driver from 580 on.
VERSION = (13, 0)


@dataclass(frozen=True)
class Toolkit:
    """Paths of NVIDIA's packages."""

    nvrtc: Path
    nvrtc_builtins: Path
    nvfatbin: Path
    include: Path


def find_toolkit() -> Toolkit:
    """Return the toolkit of this Python environment. Raises CompileError."""
    for root in _roots():
        toolkit = Toolkit(
            root / "lib" / "libnvrtc.so.13",
            root / "lib" / "libnvrtc-builtins.so.13.0",
            root / "lib" / "libnvfatbin.so.13",
            root / "include",
        )
        needed = (toolkit.nvrtc, toolkit.nvrtc_builtins, toolkit.nvfatbin, _header(toolkit))
        missing = [path.name for path in needed if not path.is_file()]
        if not missing:
            return toolkit
        raise _absent(f"{root} without {', '.join(missing)}")
    raise _absent("no package nvidia-cuda-nvrtc")


def find_program(name: str) -> Path:
    """Return a program such as cuobjdump of NVIDIA's packages. Raises CompileError."""
    for root in _roots():
        path = root / "bin" / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise CompileError(
        f"no program {name}",
        wanted=f"the package nvidia-cuda-{name}",
        fix="install ferrylm[cuda-inspect]",
    )


def _roots() -> list[Path]:
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec is not None else None
    roots = [Path(folder) / "cu13" for folder in folders or ()]
    return [root for root in roots if root.is_dir()]


def _header(toolkit: Toolkit) -> Path:
    return toolkit.include / "cuda_fp16.h"


def _absent(found: str) -> CompileError:
    return CompileError(
        found,
        wanted="NVRTC, nvFatbin and the headers of CUDA 13.0",
        fix="install ferrylm[cuda]",
    )
