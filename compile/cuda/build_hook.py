"""TVM's CUDA code generator, made to hand over sources instead of compiling or embedding them.

Where a driver is installed TVM would compile at once, for that one machine, with whatever nvcc it
finds; elsewhere it would embed source. Here it does neither: the module it returns carries the
sources of every body until `packing.py` puts machine code in their place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tvm_ffi
from tvm import IRModule

from ferrylm.compile.cuda.bodies import split_bodies
from ferrylm.compile.cuda.launch_order import allow_overlap, check_overlap
from ferrylm.compile.cuda.operation_names import rename_operations
from ferrylm.compile.cuda.prelude import prelude
from ferrylm.errors import CompileError, FerryError

_BUILD = "target.build.cuda"
_POSTPROCESS = "tvm_callback_cuda_postproc"
_NO_COMPILER = "TVM_COMPILE_FORCE_FALLBACK"
_MARK = "ferrylm_cuda_sources"


@contextmanager
def ahead_of_time() -> Iterator[None]:
    """Let builds for the target kind `cuda` keep sources for `packing.CudaPacker`.

    Raises CompileError for kernels that cannot be built.
    """
    original = tvm_ffi.get_global_func(_BUILD)
    failures: list[FerryError] = []

    def build(module: Any, target: Any) -> Any:
        try:
            return _build(original, module, target)
        except FerryError as error:
            failures.append(error)  # TVM would pass it on as an error of its own
            raise

    tvm_ffi.register_global_func(_BUILD, build, override=True)
    try:
        yield
    except Exception as error:
        if failures and error is not failures[0]:
            raise failures[0] from error
        raise
    finally:
        tvm_ffi.register_global_func(_BUILD, original, override=True)


def read_sources(code: bytes) -> dict[str, str]:
    """Return the sources that a module of `ahead_of_time` carries, by body.

    Raises CompileError for any other module.
    """
    try:
        sources = json.loads(code)[_MARK]
    except (ValueError, TypeError, KeyError) as error:
        raise CompileError(
            "a CUDA module that was not built ahead of time",
            wanted="one built inside ahead_of_time()",
            fix="build the module there",
        ) from error
    return {str(body): str(text) for body, text in sources.items()}


def _build(original: Any, module: Any, target: Any) -> Any:
    sources: dict[str, str] = {}
    kernels_for_all = None
    with _sources_only():
        for body, kernels in split_bodies(module).items():
            renamed, names = _rename(kernels)
            if body:
                generated = original(renamed, target).inspect_source("cuda")
                sources[body] = prelude(names) + allow_overlap(str(generated))
            else:
                kernels_for_all = renamed, names
        assert kernels_for_all is not None, "there is always a general body"
        renamed, names = kernels_for_all

        def encode(code: str, _target: Any) -> str:
            general = prelude(names) + allow_overlap(code)
            return json.dumps({_MARK: {"": general, **sources}})

        with _postprocess(encode):
            return original(renamed, target)


def _rename(kernels: Any) -> tuple[Any, frozenset[str]]:
    functions, names = {}, frozenset[str]()
    for variable, function in kernels.functions.items():
        functions[variable], used = rename_operations(function)
        check_overlap(function, used)
        names |= used
    return IRModule(functions), names


@contextmanager
def _sources_only() -> Iterator[None]:
    before = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"
    try:
        yield
    finally:
        _restore(os.environ, _NO_COMPILER, before)


def _restore(environment: Any, name: str, before: str | None) -> None:
    if before is None:
        del environment[name]
    else:
        environment[name] = before


@contextmanager
def _postprocess(function: Any) -> Iterator[None]:
    before = tvm_ffi.get_global_func(_POSTPROCESS, allow_missing=True)
    tvm_ffi.register_global_func(_POSTPROCESS, function, override=True)
    try:
        yield
    finally:
        if before is None:
            tvm_ffi.registry.remove_global_func(_POSTPROCESS)
        else:
            tvm_ffi.register_global_func(_POSTPROCESS, before, override=True)
