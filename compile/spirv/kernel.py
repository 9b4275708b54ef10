"""One kernel: a lowered device function becomes a SPIR-V module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.compile.spirv import barriers, cooperative_matrix, function_facts, launch, statements
from ferrylm.compile.spirv.enumerants import SPIRV_1_6, Capability, Decoration, ExecutionMode
from ferrylm.compile.spirv.expressions import EXPRESSIONS
from ferrylm.compile.spirv.target_features import TargetFeatures, feature_names
from ferrylm.compile.spirv.values import HANDLE
from ferrylm.compile.spirv.writer import Writer
from ferrylm.errors import CompileError

_WEIGHT_ATTRIBUTES = ("ferrylm.lane_weights", "ferrylm.loop_weights")
_LAUNCH_ATTRIBUTE = "tirx.kernel_launch_params"


@dataclass(frozen=True)
class Kernel:
    """A SPIR-V module and what its caller must know; see docs/spirv.md.

    `weights` is what a schedule says of itself for docs/steam-deck.md: loop_weights, lane_weights.
    """

    name: str
    spirv: bytes
    arguments: tuple[str, ...]
    access: tuple[str, ...]
    launch: tuple[str, ...]
    local_size: tuple[int, int, int]
    subgroup_size: int
    shared_bytes: int
    spirv_version: str
    requires: tuple[str, ...]
    weights: tuple[tuple[str, int], ...] = ()


def generate_kernel(name: str, function: Any, target: TargetFeatures) -> Kernel:
    """Return the kernel of a lowered function. Raises CompileError for what Vulkan cannot do."""
    subgroup = function_facts.subgroup_size(function, target)
    writer = Writer(name, target, subgroup, EXPRESSIONS)
    accesses = function_facts.accesses(function)
    if function_facts.calls_any(function, cooperative_matrix.PREFIX):
        writer.module.require(Capability.VULKAN_MEMORY_MODEL)
    if function_facts.calls_any(function, barriers.DEVICE_PREFIX):
        # Only in this model is there a word for what one workgroup reads of another's writes.
        writer.module.require(Capability.VULKAN_MEMORY_MODEL)
        writer.module.require(Capability.VULKAN_MEMORY_MODEL_DEVICE_SCOPE)
    writer.seen_types = function_facts.seen_types(function)
    if bool(function.attrs.get("tirx.noalias", False)):
        writer.read_only = {each for each, how in accesses.items() if how == "r"}
    launch.bind_arguments(writer, function.params)
    statements.write(writer, function.body)
    if subgroup and writer.local_size[0] % subgroup:
        writer.refuse(
            f"a workgroup {writer.local_size[0]} threads wide with subgroups of {subgroup}",
            "whole subgroups along threadIdx.x",
        )
    spirv = _module(writer)
    scalars = [writer.type_of(parameter)[0] for parameter in function.params]
    return Kernel(
        name=name,
        spirv=spirv,
        arguments=tuple(scalar.name for scalar in scalars),
        access=tuple(
            accesses.get(parameter, "rw") if scalar == HANDLE else ""
            for parameter, scalar in zip(function.params, scalars, strict=True)
        ),
        launch=tuple(str(tag) for tag in function.attrs[_LAUNCH_ATTRIBUTE]),
        local_size=(writer.local_size[0], writer.local_size[1], writer.local_size[2]),
        subgroup_size=subgroup,
        shared_bytes=writer.shared_bytes,
        spirv_version="1.6" if target.spirv_version == SPIRV_1_6 else "1.5",
        requires=tuple(sorted({*feature_names(writer.module.capabilities), *writer.products})),
        weights=tuple(
            (name.partition(".")[2], int(function.attrs[name]))
            for name in _WEIGHT_ATTRIBUTES
            if name in function.attrs
        ),
    )


def _module(writer: Writer) -> bytes:
    module = writer.module
    main = module.new_id()
    module.name(main, writer.name)
    module.execution_mode(ExecutionMode.LOCAL_SIZE, *writer.local_size)
    for result in sorted(writer.exact):
        module.decorate(result, Decoration.NO_CONTRACTION)
    limit = writer.target.most_shared_bytes
    if limit is not None and writer.shared_bytes > limit:
        raise CompileError(
            f"the kernel {writer.name} with {writer.shared_bytes} bytes of shared memory",
            wanted=f"at most the target's {limit}",
            fix="choose smaller tiles",
        )
    return module.finish(main, writer.body.finish(main))
