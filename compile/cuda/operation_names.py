"""Calls of `ferrylm.NAME` in device functions, put into a form that TVM prints as CUDA C++."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import ir

from ferrylm.compile.cuda.operations import OPERATIONS, PREFIX
from ferrylm.errors import CompileError

_CALLS = ("tirx.call_extern", "tirx.call_pure_extern")
# Prints the call as it is; call_extern would be taken apart for vectors, element by element.
_PLAIN_CALL = "tirx.cuda.func_call"
_BARRIER = "tirx.tvm_storage_sync"  # TVM prints nothing for the scope "warp"


def rename_operations(function: Any) -> tuple[Any, frozenset[str]]:
    """Return a PrimFunc that calls `ferrylm_NAME`, and the names without prefix.

    Raises CompileError for a name that operations.py does not have.
    """
    found: set[str] = set()

    def rename(call: Any) -> Any:
        name, arguments = _operation(call)
        if name is None:
            return call
        found.add(name)
        callee = ir.StringImm("ferrylm_" + name)
        return ir.Call(_PLAIN_CALL, [callee, *arguments, ir.StringImm("")], ret_ty=call.ty)

    renamed = tvm_ffi.structural_map(function, (ir.Call, rename))
    unknown = sorted(found - set(OPERATIONS))
    if unknown:
        raise CompileError(
            f"the operation {PREFIX}{unknown[0]}",
            wanted="one of " + ", ".join(sorted(OPERATIONS)),
            fix="give it a body in compile/cuda/operations.py",
        )
    return renamed, frozenset(found)


def _operation(call: Any) -> tuple[str | None, list[Any]]:
    operator = getattr(call.op, "name", "")
    arguments = list(call.args)
    if not arguments or not isinstance(arguments[0], ir.StringImm):
        return None, []
    first = arguments[0].value
    if operator in _CALLS and first.startswith(PREFIX):
        return first[len(PREFIX) :], arguments[1:]
    if operator == _BARRIER and first == "warp":
        return "subgroup_barrier", []
    return None, []
