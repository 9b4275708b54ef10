"""PrimFuncs as C++ for the host: TVM's CUDA source with our operations, less what is not C++.

The host's part of a function stays TVM's own and calls kernels as it would on a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx
from tvm.tirx import compilation_pipeline

from ferrylm.compile.cuda.architectures import body_for, parse_architecture
from ferrylm.compile.cuda.build_hook import ahead_of_time, read_sources
from ferrylm.compile.cuda.library import cuda_target
from ferrylm.compile.gpu_pipeline import PIPELINE
from tests.support.cuda_emulator.assembly import translate

_BUILD = "target.build.cuda"
_OURS = "ferrylm-gpu-emulated"
_TAGS = "tirx.kernel_launch_params"
DYNAMIC = "tirx.use_dyn_shared_memory"
_FLAGS = ("tirx.use_programtic_dependent_launch", "tirx.use_cooperative_launch")
_SIGNATURE = re.compile(
    r'^extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(.*\) \{$', re.MULTILINE
)
_SHARED = re.compile(
    r"^ *(?P<extern>extern )?__shared__ (?P<align>(?:alignas|__align__)\(\d+\) )?"
    r"(?P<type>[\w ]+) (?P<name>\w+)\[(?P<count>\d*)\];$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Kernel:
    """A kernel and what the host gives it: parameters, then extents in the order of the tags."""

    name: str
    parameters: tuple[str, ...]  # dtypes
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Lowered:
    """The host's module, the kernels that it calls by name, and their C++."""

    host: Any
    kernels: tuple[Kernel, ...]
    source: str


def lower(functions: Mapping[str, Any], arch: str) -> Lowered:
    """Lower PrimFuncs as for a chip such as 90a. Raises CompileError for what a chip lacks."""
    architecture = parse_architecture(arch)
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    sources: dict[str, str] = {}
    kernels: list[Kernel] = []
    with ahead_of_time(), _kept_sources(sources, kernels):
        target = cuda_target(architecture.number)
        host = tvm.compile(tvm.IRModule(named), target=target, tir_pipeline=_OURS).mod
    host.clear_imports()
    body = sources[body_for(architecture, tuple(sources))]
    return Lowered(host, tuple(kernels), for_host(body, [kernel.name for kernel in kernels]))


@contextmanager
def _kept_sources(sources: dict[str, str], kernels: list[Kernel]) -> Iterator[None]:
    """Take the device module's sources away, so that the host finds its kernels elsewhere."""
    inner = tvm_ffi.get_global_func(_BUILD)

    def build(module: Any, target: Any) -> Any:
        sources.update(read_sources(inner(module, target).inspect_source("cuda").encode()))
        names = kernel_names(sources[""])
        for function in module.functions.values():
            name = str(function.attrs["global_symbol"])
            if name in names:
                parameters = tuple(_dtype(parameter) for parameter in function.params)
                tags = tuple(str(tag) for tag in function.attrs[_TAGS])
                kept = tuple(tag for tag in tags if tag not in _FLAGS)
                kernels.append(Kernel(name, parameters, kept))
        create = tvm_ffi.get_global_func("runtime.SourceModuleCreate")
        return create("", "cuda")

    tvm_ffi.register_global_func(_BUILD, build, override=True)
    try:
        yield
    finally:
        tvm_ffi.register_global_func(_BUILD, inner, override=True)


def _dtype(parameter: Any) -> str:
    kind = str(parameter.ty)
    return kind if re.fullmatch(r"(u?int|float|bool)\d*", kind) else "handle"


def kernel_names(source: str) -> list[str]:
    """Return the kernels that a source defines."""
    return _SIGNATURE.findall(source)


def for_host(source: str, kernels: list[str]) -> str:
    """Return CUDA C++ as C++ against include/builtins.h, with an entry for each kernel."""
    code = translate(source)
    starts = [match.start() for match in _SIGNATURE.finditer(code)]
    parts = [code[: starts[0]]]
    for start, end in zip(starts, [*starts[1:], len(code)], strict=True):
        parts.append(_with_shared_memory(code[start:end]))
    parts += [
        f'extern "C" void emulated_{name}(const uint64_t* a) {{ emulator::call({name}, a); }}\n'
        for name in kernels
    ]
    return "".join(parts)


def _with_shared_memory(kernel: str) -> str:
    """Put a kernel's arrays in shared memory into a structure of their own."""
    match = _SIGNATURE.match(kernel)
    assert match is not None
    structure = f"SharedOf_{match[1]}"
    members: list[str] = []

    def replace(found: re.Match[str]) -> str:
        if found["extern"]:
            return f"auto* {found['name']} = ({found['type']}*)emulator::dynamic_shared();"
        name = found["name"]
        members.append(f"{found['align'] or ''}{found['type']} {name}[{found['count']}];")
        return f"auto& {name} = (({structure}*)emulator::static_shared())->{name};"

    body = _SHARED.sub(replace, kernel)
    # An empty structure has a size, too.
    size = f"sizeof({structure})" if members else "0"
    return (
        f"struct {structure} {{ {' '.join(members)} }};\n"
        f'extern "C" const unsigned shared_bytes_of_{match[1]} = {size};\n{body}'
    )


def _passes() -> tuple[Any, Any, Any]:
    lowered, host, device = compilation_pipeline.PIPELINE_MAP[PIPELINE]()

    @tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def without_device(module: Any, context: Any) -> Any:
        module = lowered(module)
        functions = {
            variable: tvm_ffi.structural_map(function, (ir.Call, _without_set_device))
            for variable, function in module.functions.items()
        }
        return tvm.IRModule(functions, attrs=module.attrs)

    return without_device, host, device


def _without_set_device(call: Any) -> Any:
    first = call.args[0] if len(call.args) else None
    if isinstance(first, ir.StringImm) and first.value == "__tvm_set_device":
        return tirx.IntImm("int32", 0)
    return call


compilation_pipeline.PIPELINE_MAP[_OURS] = _passes
