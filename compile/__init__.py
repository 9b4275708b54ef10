"""The compiler: model and weights in, artifact out. Needs the whole apache-tvm."""

from __future__ import annotations

from ferrylm.compile.compiler import compile_model
from ferrylm.compile.options import CompileOptions, CompileResult

__all__ = ["CompileOptions", "CompileResult", "compile_model"]
