"""Give every operation of ours in a device function the name of its LLVM function.

Runs on lowered device functions, as the last pass. A call's types and constants become part of the
name (`ferrylm.subgroup_add.float32`), because LLVM has one function per name.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, tirx
from tvm_ffi import structural_map, structural_walk

from ferrylm.compile.rocm.device_functions import PREFIX, TYPED, UNTYPED, unknown_function
from ferrylm.errors import CompileError

Expression = Any

_CLUSTERED = ("subgroup_add_clustered", "subgroup_max_clustered")
_MATHEMATICS = {"llvm.pow": "pow", "llvm.sin": "sin", "llvm.cos": "cos"}
_BARRIERS = {"shared": "workgroup_barrier", "warp": "subgroup_barrier"}
_THREADS = ("threadIdx.x", "threadIdx.y", "threadIdx.z")


def block_extents(func: Any) -> tuple[int, int, int]:
    """Return the threads of a block in x, y and z. Raises CompileError when they vary."""
    found = dict.fromkeys(_THREADS, 1)

    def visit(statement: Any) -> None:
        if statement.attr_key != "thread_extent":
            return
        tag = str(statement.node.thread_tag)
        if tag in found:
            if not isinstance(statement.value, tirx.IntImm):
                raise CompileError(
                    f"a kernel whose {tag} has the extent {statement.value}",
                    wanted="blocks of a constant size",
                    fix="bind a loop of constant extent to the threads",
                )
            found[tag] = int(statement.value)

    structural_walk(func.body, (tirx.AttrStmt, visit))
    return (found["threadIdx.x"], found["threadIdx.y"], found["threadIdx.z"])


def _call(dtype: str, name: str, arguments: list[Expression]) -> Expression:
    return tirx.call_extern(dtype, PREFIX + name, *arguments)


def _constant(value: Expression, operation: str) -> int:
    if not isinstance(value, tirx.IntImm):
        raise CompileError(
            f"a kernel calls {PREFIX}{operation} with {value}",
            wanted="a constant",
            fix="give the width as a number that is known when the kernel is compiled",
        )
    return int(value)


class _Rename:
    """Rewrites the calls of one function."""

    def __init__(self, func: Any) -> None:
        self.block = block_extents(func)
        self.intrinsic_name = tvm.get_global_func("target.llvm_get_intrinsic_name")

    def __call__(self, call: Any) -> Expression:
        operation = call.op.name if isinstance(call.op, ir.Op) else ""
        if operation in ("tirx.call_pure_extern", "tirx.call_extern"):
            return self._extern(call)
        if operation == "tirx.tvm_storage_sync":
            scope = call.args[0].value
            return _call("int32", _BARRIERS[scope], []) if scope in _BARRIERS else call
        if operation in ("tirx.call_llvm_pure_intrin", "tirx.call_llvm_intrin"):
            name = str(self.intrinsic_name(int(call.args[0])))
            if name in _MATHEMATICS:
                dtype = str(call.ty.dtype)
                return _call(dtype, f"{_MATHEMATICS[name]}.{dtype}", list(call.args[1:]))
        return call

    def _extern(self, call: Any) -> Expression:
        name = str(call.args[0].value)
        if not name.startswith(PREFIX):
            return call
        operation = name[len(PREFIX) :]
        arguments = list(call.args[1:])
        dtype = str(call.ty.dtype)
        if operation == "subgroup_id":
            extents = ".".join(map(str, self.block))
            return _call(dtype, f"subgroup_id.{extents}", [])
        if operation in UNTYPED:
            return _call(dtype, operation, arguments)
        if operation not in TYPED:
            raise unknown_function(name)
        mangled = f"{operation}.{arguments[0].ty.dtype}"
        if operation in _CLUSTERED:
            width = _constant(arguments.pop(), operation)
            return _call(dtype, f"{mangled}.{width}", arguments)
        if operation == "subgroup_shuffle_xor" and isinstance(arguments[1], tirx.IntImm):
            return _call(dtype, f"{mangled}.{int(arguments[1])}", arguments)
        return _call(dtype, mangled, arguments)


def lower_operations(module: Any) -> Any:
    """Return the module with the operations of ours renamed; see the file's head.

    Raises CompileError.
    """
    renamed = {variable: _lowered(func) for variable, func in module.functions.items()}
    return tvm.IRModule(renamed)


def _lowered(func: Any) -> Any:
    rename = _Rename(func)
    errors: list[CompileError] = []

    def visit(call: Any) -> Expression:
        try:
            return rename(call)
        except CompileError as error:
            errors.append(error)
            raise

    try:
        return func.with_body(structural_map(func.body, (ir.Call, visit)))
    except RuntimeError as error:
        # TVM turns what a callback raises into errors of its own.
        raise errors[0] if errors else error from None
