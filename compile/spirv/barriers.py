"""Barriers."""

from __future__ import annotations

from collections.abc import Mapping

from ferrylm.compile.spirv.call import Call, nothing
from ferrylm.compile.spirv.enumerants import Capability, Op, Scope, Semantics
from ferrylm.compile.spirv.values import Value
from ferrylm.compile.spirv.writer import Handler, Writer

DEVICE_PREFIX = "ferrylm.device_"  # operations between the workgroups of a kernel

_SHARED = Semantics.ACQUIRE_RELEASE | Semantics.WORKGROUP_MEMORY

_VECTOR_LANES = 8  # of a subgroup that is a vector of a CPU

_VISIBLE = Semantics.MAKE_AVAILABLE | Semantics.MAKE_VISIBLE  # implied by GLSL's memory model


def _storage_sync(writer: Writer, call: Call) -> Value:
    scope = str(call.arguments[0].value)
    if scope in ("shared", "shared.dyn"):
        return _barrier(writer, Scope.WORKGROUP)
    if scope == "warp":
        return _barrier(writer, Scope.SUBGROUP)
    writer.refuse(
        f"a barrier over {scope} memory", "barriers of a workgroup: several kernels for more"
    )


def _subgroup_barrier(writer: Writer, _call: Call) -> Value:
    return _barrier(writer, Scope.SUBGROUP)


def _barrier(writer: Writer, scope: Scope) -> Value:
    semantics = _SHARED | (_VISIBLE if writer.vulkan_memory_model else 0)
    if scope == Scope.WORKGROUP and _between_workgroups(writer):
        # A thread that releases for its workgroup releases what the others wrote before this.
        semantics |= Semantics.UNIFORM_MEMORY
    if scope == Scope.SUBGROUP and writer.subgroup_size == _VECTOR_LANES:
        # Lanes of a vector cannot part. Mesa's software driver from 25.0 on lets them wait for all
        # of the workgroup, of which some may never come.
        arguments = [writer.index(number) for number in (scope, semantics)]
        writer.body.effect(Op.MEMORY_BARRIER, *arguments)
        return nothing(writer)
    arguments = [writer.index(number) for number in (scope, scope, semantics)]
    writer.body.effect(Op.CONTROL_BARRIER, *arguments)
    return nothing(writer)


def _between_workgroups(writer: Writer) -> bool:
    return Capability.VULKAN_MEMORY_MODEL_DEVICE_SCOPE in writer.module.capabilities


def device_semantics() -> int:
    """Return the semantics that order a thread's writes and reads of buffers before others'."""
    return Semantics.ACQUIRE_RELEASE | Semantics.UNIFORM_MEMORY | _VISIBLE


def _device_fence(writer: Writer, _call: Call) -> Value:
    arguments = [writer.index(number) for number in (Scope.DEVICE, device_semantics())]
    writer.body.effect(Op.MEMORY_BARRIER, *arguments)
    return nothing(writer)


OPERATIONS: Mapping[str, Handler] = {
    "tirx.tvm_storage_sync": _storage_sync,
    "ferrylm.subgroup_barrier": _subgroup_barrier,
    "ferrylm.device_release": _device_fence,
    "ferrylm.device_acquire": _device_fence,
}
