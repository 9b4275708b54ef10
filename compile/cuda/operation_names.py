"""Calls of `ferrylm.NAME` in device functions: which there are, under names that C allows."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import ir

from ferrylm.compile.cuda.operations import OPERATIONS, PREFIX
from ferrylm.errors import CompileError

_CALLS = ("tirx.call_extern", "tirx.call_pure_extern")


def rename_operations(function: Any) -> tuple[Any, frozenset[str]]:
    """Return a PrimFunc whose calls are of `ferrylm_NAME`, and the names without prefix.

    Raises CompileError for a name that `operations.py` does not have.
    """
    found: set[str] = set()

    def rename(call: Any) -> Any:
        if getattr(call.op, "name", "") not in _CALLS:
            return call
        callee = call.args[0]
        if not isinstance(callee, ir.StringImm) or not callee.value.startswith(PREFIX):
            return call
        name = callee.value[len(PREFIX) :]
        found.add(name)
        arguments = [ir.StringImm("ferrylm_" + name), *list(call.args)[1:]]
        return ir.Call(call.op, arguments, ret_ty=call.ty)

    renamed = tvm_ffi.structural_map(function, (ir.Call, rename))
    unknown = sorted(found - set(OPERATIONS))
    if unknown:
        raise CompileError(
            f"the operation {PREFIX}{unknown[0]}",
            wanted="one of " + ", ".join(sorted(OPERATIONS)),
            fix="give it a body in compile/cuda/operations.py",
        )
    return renamed, frozenset(found)
