"""What is found by looking over a whole function before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import ir, tirx
from tvm_ffi import structural_walk

from ferrylm.compile.spirv.target_features import TargetFeatures
from ferrylm.compile.spirv.values import Scalar, parse_type

SUBGROUP_ATTRIBUTE = "ferrylm.subgroup_size"
_WARP_SHUFFLES = "tirx.tvm_warp_"
_SYNC = "tirx.tvm_storage_sync"


def subgroup_size(function: Any, target: TargetFeatures) -> int:
    """Return the subgroup size that a function asks for, 0 for any.

    A function that TVM lowered to operations of warps is right only for the target's warp size.
    """
    asked = int(function.attrs.get(SUBGROUP_ATTRIBUTE, 0))
    if asked:
        return asked
    found: list[bool] = []

    def call(node: Any) -> None:
        name = str(getattr(node.op, "name", ""))
        if name.startswith(_WARP_SHUFFLES) or (name == _SYNC and node.args[0].value == "warp"):
            found.append(True)

    structural_walk(function.body, (ir.Call, call))
    return target.warp_size if found and target.warp_size > 1 else 0


def calls_any(function: Any, prefix: str) -> bool:
    """Return whether a function calls something by a name with this beginning."""
    found: list[bool] = []

    def call(node: Any) -> None:
        first = node.args[0] if len(node.args) else None
        if isinstance(first, ir.StringImm) and str(first.value).startswith(prefix):
            found.append(True)

    structural_walk(function.body, (ir.Call, call))
    return bool(found)


def seen_types(function: Any) -> dict[Any, set[Scalar]]:
    """Return for each allocation that has views as which types these see its memory."""
    owners: dict[Any, Any] = {}
    seen: dict[Any, set[Scalar]] = {}
    accessed: set[Any] = set()

    def declare(statement: Any) -> None:
        data = statement.data
        if isinstance(data, ir.Call) and data.op.name == "tirx.buffer_data":
            data = data.args[0]
        owners[statement.buffer] = owners.get(data, data) if isinstance(data, ir.Var) else None

    structural_walk(
        function.body,
        [
            (tirx.DeclBuffer, declare),
            (ir.TensorLoad, lambda node: accessed.add(node.source)),
            (tirx.BufferStore, lambda node: accessed.add(node.buffer)),
        ],
    )
    viewed = {owner for owner in owners.values() if owner is not None}
    for buffer in accessed:
        owner = owners.get(buffer, buffer)
        found = parse_type(str(buffer.ty.dtype))
        if owner in viewed and found is not None:
            seen.setdefault(owner, set()).add(found[0])
    return seen


def accesses(function: Any) -> dict[Any, str]:
    """Return for each pointer parameter what the function does to its memory: r, w or rw.

    A pointer that is used other than through a declared buffer counts as read and written.
    """
    owners: dict[Any, Any] = {}
    loads: list[Any] = []
    stores: list[Any] = []
    bare: list[Any] = []

    def declare(statement: Any) -> None:
        data = statement.data
        if isinstance(data, ir.Var):
            owners[statement.buffer] = owners.get(data, data)
        else:
            bare.append(data)

    structural_walk(
        function.body,
        [
            (tirx.DeclBuffer, declare),
            (ir.TensorLoad, lambda node: loads.append(node.source)),
            (tirx.BufferStore, lambda node: stores.append(node.buffer)),
            (ir.Call, lambda node: bare.extend([node, *node.args])),
            (tirx.Bind, lambda node: bare.append(node.value)),
        ],
    )
    read = {owners.get(buffer, buffer) for buffer in loads}
    written = {owners.get(buffer, buffer) for buffer in stores}
    unknown = _reached(bare, owners)
    found = {}
    for parameter in function.params:
        how = ("r" if parameter in read else "") + ("w" if parameter in written else "")
        found[parameter] = "rw" if parameter in unknown else how
    return found


def _reached(expressions: Sequence[Any], owners: dict[Any, Any]) -> set[Any]:
    """Return whose memory the pointers among the expressions may reach."""
    found = set()
    for expression in expressions:
        if isinstance(expression, ir.Var):
            found.add(owners.get(expression, expression))
        elif isinstance(expression, ir.Call) and expression.op.name == "tirx.address_of":
            (place,) = expression.args
            if isinstance(place, ir.TensorLoad):
                found.add(owners.get(place.source, place.source))
    return found
