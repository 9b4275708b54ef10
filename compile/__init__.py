"""The compiler: model and weights in, artifact out. Needs the whole apache-tvm.

Its parts are loaded when they are asked for, because `isa` needs no TVM and is used in processes
that have loaded TVM's runtime alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ferrylm.errors import CompileError

if TYPE_CHECKING:
    from ferrylm.compile.compiler import compile_model
    from ferrylm.compile.options import CompileOptions, CompileResult

__all__ = ["CompileOptions", "CompileResult", "compile_model"]

_MODULES = {"CompileOptions": "options", "CompileResult": "options", "compile_model": "compiler"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "compile_model":
        _require_whole_tvm()
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def _require_whole_tvm() -> None:
    """Refuse a process that has TVM's runtime alone, which nothing can change any more."""
    base = import_module("tvm").base
    if base._RUNTIME_ONLY:
        raise CompileError(
            "a process that has loaded TVM's runtime without its compiler, as running a model does",
            wanted="the whole apache-tvm",
            fix="import ferrylm.compile.compiler before a model is loaded, compile in another "
            "process, or unset TVM_USE_RUNTIME_LIB",
        )
