"""`target.build.vulkan`: what TVM calls with the lowered device functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tvm_ffi
from tvm import tirx

from ferrylm.compile.spirv.container import write_container
from ferrylm.compile.spirv.kernel import generate_kernel
from ferrylm.compile.spirv.mathematics import KEPT_BY_LOWERING
from ferrylm.compile.spirv.target_features import read_target
from ferrylm.errors import CompileError, FerryError

_BUILD = "target.build.vulkan"
_LOADER = "ferrylm.vulkan.module_from_bytes"
_RULE_LEVEL = 99
_failures: ContextVar[list[FerryError] | None] = ContextVar("failures", default=None)


def generate(module: Any, target: Any) -> bytes:
    """Return the container of the kernels in a lowered device module. Raises CompileError."""
    features = read_target(target)
    kernels = []
    for variable, function in module.functions.items():
        name = str(function.attrs.get("global_symbol", variable.name_hint))
        kernels.append(generate_kernel(name, function, features))
    return write_container(kernels)


def build(module: Any, target: Any) -> Any:
    """Return the runtime module of kind `vulkan` with the kernels of a device module."""
    try:
        return load_container(generate(module, target))
    except FerryError as error:
        failures = _failures.get()
        if failures is not None:
            failures.append(error)
        raise


def load_container(container: bytes) -> Any:
    """Return the runtime module of a container. Raises CompileError without the native library."""
    loader = tvm_ffi.get_global_func(_LOADER, allow_missing=True)
    if loader is None:
        raise CompileError(
            "a build for Vulkan without the native library",
            wanted=f"the function {_LOADER}",
            fix="install ferrylm with its native libraries",
        )
    return loader(container)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Let the errors of code generation come out as they are: TVM makes others of them."""
    failures: list[FerryError] = []
    token = _failures.set(failures)
    try:
        yield
    except Exception as error:
        if failures and error is not failures[0]:
            raise failures[0] from error
        raise
    finally:
        _failures.reset(token)


def register() -> None:
    """Register the code generator and its lowering rules with TVM; again is no harm."""
    tvm_ffi.register_global_func(_BUILD, build, override=True)
    for name in KEPT_BY_LOWERING:
        tirx.op.register_intrin_lowering(name, "vulkan", f=_keep, level=_RULE_LEVEL)


def _keep(call: Any) -> Any:
    """Give a function of reals a name of ours, which no later rule replaces."""
    name = "ferrylm.math." + str(call.op.name).partition(".")[2]
    return tirx.call_pure_extern(str(call.ty), name, *call.args)
