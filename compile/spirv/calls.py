"""Calls, by the name of what is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.compile.spirv import (
    atomics,
    barriers,
    cooperative_matrix,
    dot_product,
    mathematics,
    pointers,
    simple_calls,
    subgroups,
)
from ferrylm.compile.spirv.call import Call
from ferrylm.compile.spirv.values import Value
from ferrylm.compile.spirv.writer import Handler, Writer

_EXTERN = ("tirx.call_pure_extern", "tirx.call_extern")

OPERATIONS: Mapping[str, Handler] = {
    **simple_calls.OPERATIONS,
    **mathematics.OPERATIONS,
    **subgroups.OPERATIONS,
    **dot_product.OPERATIONS,
    **barriers.OPERATIONS,
    **atomics.OPERATIONS,
    **pointers.OPERATIONS,
    **cooperative_matrix.OPERATIONS,
}


def call(writer: Writer, node: Any) -> Value:
    """Write a call of an intrinsic, or of a function of ours by name."""
    name, arguments = str(node.op.name), list(node.args)
    if name in _EXTERN:
        name, arguments = str(arguments[0].value), arguments[1:]
    handler = OPERATIONS.get(name)
    if handler is None:
        writer.refuse(f"a call of {name}", "one of the operations listed in docs/spirv.md")
    return handler(writer, Call(node, name, arguments))
