"""PrimFuncs as C++ for the host: TVM's CUDA source with our operations, less what is not C++.

The host's part of a function stays TVM's own and calls kernels as it would on a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx
from tvm.tirx import compilation_pipeline

from ferrylm.compile.cuda.architectures import Architecture, body_for, parse_architecture
from ferrylm.compile.cuda.build_hook import ahead_of_time, read_sources
from ferrylm.compile.cuda.library import cuda_target
from ferrylm.compile.gpu_pipeline import PIPELINE
from tests.support.cuda_emulator.assembly import translate

_BUILD = "target.build.cuda"
ON_DEVICE = "ferrylm-gpu-emulated"  # the pipeline; tensors are said to be on a CUDA device
ON_HOST = "ferrylm-gpu-emulated-on-host"  # tensors are the CPU's
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
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    with captured(arch) as capture:
        target = cuda_target(parse_architecture(arch).number)
        host = tvm.compile(tvm.IRModule(named), target=target, tir_pipeline=ON_DEVICE).mod
    host.clear_imports()
    return Lowered(host, tuple(capture.kernels), capture.source())


@dataclass
class Capture:
    """What a build made for the device."""

    architecture: Architecture
    sources: dict[str, str] = field(default_factory=dict)
    kernels: list[Kernel] = field(default_factory=list)

    def source(self) -> str:
        """Return the C++ of the body that the chip gets."""
        body = self.sources[body_for(self.architecture, tuple(self.sources))]
        return for_host(body, [kernel.name for kernel in self.kernels])


@contextmanager
def captured(arch: str) -> Iterator[Capture]:
    """Take the kernels away from a build by ON_DEVICE or ON_HOST.

    The host's part then looks for them among TVM's global functions.
    """
    capture = Capture(parse_architecture(arch))
    with ahead_of_time(), _kept_sources(capture.sources, capture.kernels):
        yield capture


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


def _pipeline(device_kind: int) -> Callable[[], tuple[Any, Any, Any]]:
    """Return our pipeline for GPUs, with tensors on another kind of device (DLPack's number)."""

    def passes() -> tuple[Any, Any, Any]:
        lowered, host, device = compilation_pipeline.PIPELINE_MAP[PIPELINE]()

        def kind_checked(comparison: Any) -> Any:
            """Let the check of where a tensor is want the other kind."""
            if _is_field(comparison.a, _DEVICE_KIND):
                return tirx.EQ(comparison.a, tirx.IntImm("int32", device_kind))
            return comparison

        @tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
        def without_device(module: Any, context: Any) -> Any:
            module = lowered(module)
            functions = {
                variable: tvm_ffi.structural_map(
                    function, [(ir.Call, _without_set_device), (tirx.EQ, kind_checked)]
                )
                for variable, function in module.functions.items()
            }
            return tvm.IRModule(functions, attrs=module.attrs)

        return without_device, host, device

    return passes


def _is_field(expression: Any, number: int) -> bool:
    """Return whether an expression is a field of a tensor's structure."""
    if getattr(getattr(expression, "op", None), "name", "") != "tirx.tvm_struct_get":
        return False
    return int(expression.args[2]) == number


def _without_set_device(call: Any) -> Any:
    first = call.args[0] if len(call.args) else None
    if isinstance(first, ir.StringImm) and first.value == "__tvm_set_device":
        return tirx.IntImm("int32", 0)
    return call


_ON_CPU, _ON_CUDA = 1, 2  # DLPack, DLDeviceType
_DEVICE_KIND = 10  # of tvm_struct_get: TVMStructFieldKind, kDLTensorDeviceType
compilation_pipeline.PIPELINE_MAP[ON_DEVICE] = _pipeline(_ON_CUDA)
compilation_pipeline.PIPELINE_MAP[ON_HOST] = _pipeline(_ON_CPU)
