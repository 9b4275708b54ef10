"""TVM's build for the target kind `rocm`, made to compile for many chips at once.

    with ahead_of_time(architectures()):
        executable = relax.build(module, target=rocm_target(...), ...)
    executable.export_library(...)

The module that TVM gets is its own placeholder of kind `hip`, with our bundle as its code: it
exports as a library whose kernels `native/hip` loads.

Schedules may differ between waves of 32 and of 64. Then the model is built twice: once inside
`collecting`, which only keeps the lowered kernels, and once for good:

    with collecting() as narrow:
        relax.build(module_for_waves_of_32, ...)
    with ahead_of_time(architectures(), {32: narrow.kernels}):
        relax.build(module_for_waves_of_64, ...)

The host's code comes from the second build, so both must launch alike: the same kernels with the
same arguments and the same threads per block, which is checked, and the same grid, which is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.bundle import write_bundle
from ferrylm.compile.rocm.code_object import CodeObject, kernel_text, quiet, rocm_target
from ferrylm.compile.rocm.code_objects import build_code_objects
from ferrylm.compile.rocm.kernel_checks import check_code_objects
from ferrylm.compile.rocm.lower_operations import block_extents
from ferrylm.errors import CompileError, FerryError

_BUILD = "target.build.rocm"
_LINK = "tvm_callback_rocm_link"
_BITCODE = "tvm_callback_rocm_bitcode_path"
_KEPT_ATTRIBUTES = (
    *("calling_conv", "global_symbol", "tirx.noalias", "tirx.is_global_func"),
    *("tirx.kernel_launch_params", "tirx.use_dyn_shared_memory"),
)


@dataclass
class Collected:
    """The lowered kernels of one build."""

    kernels: Any = None


@dataclass
class Built:
    """The code objects of one build, by architecture."""

    code_objects: Mapping[str, CodeObject] | None = None


@contextmanager
def ahead_of_time(
    architectures: Sequence[Architecture],
    others: Mapping[int, Any] | None = None,
    *,
    workers: int | None = None,
) -> Iterator[Built]:
    """Let builds for `rocm` compile for all `architectures`.

    `others` has the kernels for waves of 32 or 64 that differ from those that are built. The
    yielded object keeps the code objects of the last build. Raises CompileError.
    """
    result = Built()

    def build(original: Any, module: Any, target: Any) -> Any:
        kernels = plain_kernels(module)
        modules = {32: kernels, 64: kernels, **(others or {})}
        for other in (others or {}).values():
            require_equal_launches(kernels, other)
        texts = {arch: kernel_text(modules[arch.wave], arch) for arch in architectures}
        result.code_objects = build_code_objects(texts, workers)
        check_code_objects(result.code_objects, kernels)
        code = {name: built.code for name, built in result.code_objects.items()}
        return _placeholder(original, kernels, write_bundle(code), architectures[0])

    errors: list[FerryError] = []
    with _replaced(_BUILD, _keeping_errors(build, errors)):
        try:
            yield result
        except RuntimeError as error:
            # TVM turns what a callback raises into errors of its own.
            raise errors[0] if errors else error from None


def _keeping_errors(function: Callable[..., Any], errors: list[FerryError]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except FerryError as error:
            errors.append(error)
            raise

    return call


@contextmanager
def collecting() -> Iterator[Collected]:
    """Let builds for `rocm` keep the lowered kernels and compile nothing."""
    collected = Collected()

    def build(original: Any, module: Any, _target: Any) -> Any:
        collected.kernels = plain_kernels(module)
        return None

    with _replaced(_BUILD, build):
        yield collected


def plain_kernels(module: Any) -> Any:
    """Return a lowered device module with its functions in order and without their target.

    The order of a module's functions is that of addresses; equal inputs must give equal bytes.
    """
    named = sorted(module.functions.items(), key=lambda item: str(item[0].name_hint))
    return tvm.IRModule({variable: _plain(func) for variable, func in named})


def _plain(func: Any) -> Any:
    kept = {name: func.attrs[name] for name in _KEPT_ATTRIBUTES if name in func.attrs}
    attributes = ir.make_node("ir.DictAttrs", **kept)
    return tirx.PrimFunc(func.params, func.body, func.ret_type, attributes)


def require_equal_launches(first: Any, second: Any) -> None:
    """Check that two modules have the same kernels, launched alike. Raises CompileError."""
    launches = [_launches(first), _launches(second)]
    for name in sorted({*launches[0], *launches[1]}):
        one, other = (found.get(name) for found in launches)
        if one != other:
            raise CompileError(
                f"the kernel {name} with waves of 32 and of 64: {one} and {other}",
                wanted="the same arguments, launch parameters and threads per block",
                fix="compile the two kinds of chips into libraries of their own",
            )


def _launches(module: Any) -> dict[str, object]:
    found: dict[str, object] = {}
    for variable, func in module.functions.items():
        types = tuple(str(parameter.ty) for parameter in func.params)
        tags = tuple(str(tag) for tag in func.attrs["tirx.kernel_launch_params"])
        found[str(variable.name_hint)] = (types, tags, block_extents(func))
    return found


def _placeholder(original: Any, kernels: Any, bundle: bytes, arch: Architecture) -> Any:
    """Return TVM's module of kind `hip` with the kernels' signatures and our bundle as code."""
    empty = {
        variable: tirx.PrimFunc(
            func.params, tirx.Evaluate(tirx.const(0, "int32")), func.ret_type, func.attrs
        )
        for variable, func in kernels.functions.items()
    }
    target = rocm_target(arch)
    with (
        _replaced(_LINK, lambda _original, _object: bundle),
        _replaced(_BITCODE, lambda _original: tvm.runtime.convert([])),
        quiet(),
    ):
        return original(tvm.IRModule(empty), target)


@contextmanager
def _replaced(name: str, function: Callable[..., Any]) -> Iterator[None]:
    original = tvm_ffi.get_global_func(name)

    def call(*arguments: Any) -> Any:
        return function(original, *arguments)

    tvm_ffi.register_global_func(name, call, override=True)
    try:
        yield
    finally:
        tvm_ffi.register_global_func(name, original, override=True)
