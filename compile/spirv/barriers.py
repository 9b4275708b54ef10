"""Barriers."""

from __future__ import annotations

from collections.abc import Mapping

from ferrylm.compile.spirv.call import Call, nothing
from ferrylm.compile.spirv.enumerants import Op, Scope, Semantics
from ferrylm.compile.spirv.values import Value
from ferrylm.compile.spirv.writer import Handler, Writer

_SHARED = Semantics.ACQUIRE_RELEASE | Semantics.WORKGROUP_MEMORY

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
    arguments = [writer.index(number) for number in (scope, scope, semantics)]
    writer.body.effect(Op.CONTROL_BARRIER, *arguments)
    return nothing(writer)


OPERATIONS: Mapping[str, Handler] = {
    "tirx.tvm_storage_sync": _storage_sync,
    "ferrylm.subgroup_barrier": _subgroup_barrier,
}
