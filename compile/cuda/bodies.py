"""Several bodies of one kernel, chosen by architecture.

A PrimFunc named `body_name("f", "90a")` beside `f` is another body of `f`: it must take the same
arguments and be launched with the same grid, since the host calls both alike. In the code for
sm_90a it stands in the place of `f`; elsewhere it does not exist.
"""

from __future__ import annotations

import re
from typing import Any

import tvm
from tvm import tirx
from tvm_ffi import structural_map

from ferrylm.compile.cuda.architectures import parse_architecture
from ferrylm.errors import CompileError

_SEPARATOR = "__body_sm_"
_KERNEL = re.compile(rf"(?P<name>.+){_SEPARATOR}(?P<arch>[0-9]+[af]?)_kernel(?P<rest>.*)")


def body_name(function: str, arch: str) -> str:
    """Return the name of the body of `function` for an architecture such as `90a`."""
    return function + _SEPARATOR + parse_architecture(arch).short_name


def split_bodies(module: Any) -> dict[str, Any]:
    """Return the device modules for each architecture that has bodies of its own; "" is general.

    Each holds every kernel of the general one. Raises CompileError for a body that stands for no
    kernel or is called otherwise than it.
    """
    kernels = {variable.name_hint: function for variable, function in module.functions.items()}
    special: dict[str, dict[str, Any]] = {}
    for name in list(kernels):
        match = _KERNEL.fullmatch(name)
        if match is not None:
            target = f"{match['name']}_kernel{match['rest']}"
            special.setdefault(match["arch"], {})[target] = kernels.pop(name)
    modules = {"": _module(kernels)}
    for arch, bodies in sorted(special.items()):
        for name, function in bodies.items():
            if name not in kernels:
                raise _strange(f"a body for sm_{arch} of {name}, which does not exist")
            if _interface(function) != _interface(kernels[name]):
                raise _strange(f"the body for sm_{arch} of {name} is launched differently")
        modules[arch] = _module(kernels | bodies)
    return modules


def _module(kernels: dict[str, Any]) -> Any:
    named = {
        name: function.with_attr("global_symbol", name)
        for name, function in sorted(kernels.items())
    }
    return tvm.IRModule(named)


def _interface(function: Any) -> tuple[object, ...]:
    """Return all that the host decides about a launch, as values that compare."""
    extents: dict[str, str] = {}

    def note(statement: Any) -> Any:
        if statement.attr_key in ("thread_extent", "tirx.dyn_smem_bytes"):
            tag = getattr(statement.node, "thread_tag", statement.attr_key)
            extents[str(tag)] = str(statement.value)
        return statement

    structural_map(function.body, (tirx.AttrStmt, note))
    parameters = tuple((parameter.name, str(parameter.ty)) for parameter in function.params)
    tags = tuple(str(tag) for tag in function.attrs["tirx.kernel_launch_params"])
    return parameters, tags, tuple(sorted(extents.items()))


def _strange(found: str) -> CompileError:
    return CompileError(
        found,
        wanted="bodies with the arguments and the grid of the kernel they stand for",
        fix="give the schedule for that architecture the same interface",
    )
