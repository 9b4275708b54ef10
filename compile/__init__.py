"""The compiler: model and weights in, artifact out. Needs the whole apache-tvm.

Its parts are loaded when they are asked for, because `isa` needs no TVM and is used in processes
that have loaded TVM's runtime alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ferrylm.compile.compiler import compile_model
    from ferrylm.compile.options import CompileOptions, CompileResult

__all__ = ["CompileOptions", "CompileResult", "compile_model"]

_MODULES = {"CompileOptions": "options", "CompileResult": "options", "compile_model": "compiler"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
