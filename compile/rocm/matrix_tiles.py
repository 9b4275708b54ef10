"""Cooperative matrices of a kernel become values of a chip's matrix unit.

A kernel names a tile as an element of a local buffer (compile/spirv/cooperative_matrix.py has the
calls). Here such a buffer becomes one of vectors, of as many halves or sums as a lane holds, and
the calls lose what the unit fixes: the use, the type and the shape of a tile. So one TensorIR
function serves all units.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, tirx
from tvm_ffi import structural_map, structural_walk

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.matrix_units import SIDE, UNITS, MatrixUnit
from ferrylm.errors import CompileError

_PREFIX = "ferrylm.coopmat_"
_LEFT, _RIGHT, _SUMS = range(3)
_ROWS, _COLUMNS = range(2)  # what is contiguous
# Which arguments the LLVM functions of matrix_units.py take.
_KEPT = {"fill": (0, 5), "load": (0, 5, 6), "mul_add": (0, 1, 2, 3), "store": (0, 1, 2)}


def with_matrix_tiles(module: Any, arch: Architecture) -> Any:
    """Return lowered device functions with tiles as the chip's matrix unit holds them.

    Raises CompileError for a tile that it does not have.
    """
    kept = {variable: _with_tiles(func, arch) for variable, func in module.functions.items()}
    return tvm.IRModule(kept)


def _with_tiles(func: Any, arch: Architecture) -> Any:
    uses = _uses(func.body)
    if not uses:
        return func
    unit = UNITS.get(arch.matrix)
    if unit is None:
        raise CompileError(
            f"a kernel that multiplies matrices, for {arch.name}",
            wanted="a chip with matrix units",
            fix="leave the architecture out, or compile it into a library without them",
        )
    made = {buffer: _vectors(buffer, use, unit) for buffer, use in uses.items()}

    def allocation(statement: Any) -> Any:
        found = made.get(statement.buffer)
        return statement if found is None else tirx.AllocBuffer(found)

    def load(one: Any) -> Any:
        found = made.get(one.source)
        return one if found is None else tirx.BufferLoad(found, list(one.indices))

    errors: list[CompileError] = []

    def call(one: Any) -> Any:
        try:
            return _shortened(one, unit, arch)
        except CompileError as error:
            errors.append(error)
            raise

    callbacks = [(tirx.AllocBuffer, allocation), (ir.TensorLoad, load), (ir.Call, call)]
    try:
        return func.with_body(structural_map(func.body, callbacks))
    except RuntimeError as error:
        # TVM turns what a callback raises into errors of its own.
        raise errors[0] if errors else error from None


def _operation(call: Any) -> str | None:
    """Return which operation on tiles a call is."""
    if not isinstance(call.op, ir.Op) or call.op.name != "tirx.call_extern":
        return None
    name = str(call.args[0].value)
    return name[len(_PREFIX) :] if name.startswith(_PREFIX) else None


def _uses(body: Any) -> dict[Any, int]:
    """Return what each local buffer of tiles is for; a tile is filled or loaded before all else."""
    found: dict[Any, int] = {}

    def visit(call: Any) -> None:
        if _operation(call) in ("fill", "load"):
            found[call.args[1].args[0].source] = int(call.args[2])

    structural_walk(body, (ir.Call, visit))
    return found


def _vectors(buffer: Any, use: int, unit: MatrixUnit) -> Any:
    """Return a buffer with a lane's part of a tile in each element."""
    dtype = f"float32x{unit.sums}" if use == _SUMS else f"float16x{unit.halves}"
    shape = list(buffer.ty.shape)
    return tirx.decl_buffer(shape, dtype, str(buffer.name), scope="local", layout=None)


def _shortened(call: Any, unit: MatrixUnit, arch: Architecture) -> Any:
    """Return a call on tiles with the arguments that its LLVM function takes."""
    operation = _operation(call)
    if operation is None:
        return call
    arguments = list(call.args[1:])
    if operation in ("fill", "load"):
        use, rows, columns = (int(arguments[position]) for position in (1, 3, 4))
        _check(use, str(arguments[2].value), (rows, columns), unit, arch)
    contiguous = {"load": _COLUMNS if operation == "load" and use == _RIGHT else _ROWS}
    contiguous["store"] = _ROWS
    if operation in contiguous and int(arguments[-1]) != contiguous[operation]:
        raise _unknown(f"a tile whose factors are not contiguous in memory, for {arch.name}")
    kept = [arguments[position] for position in _KEPT[operation]]
    return tirx.call_extern("int32", _PREFIX + operation, *kept)


def _check(
    use: int, dtype: str, shape: tuple[int, int], unit: MatrixUnit, arch: Architecture
) -> None:
    wanted = {
        _LEFT: ("float16", (SIDE, unit.columns)),
        _RIGHT: ("float16", (unit.columns, SIDE)),
        _SUMS: ("float32", (SIDE, SIDE)),
    }
    if wanted.get(use) != (dtype, shape):
        raise _unknown(f"a {shape[0]} x {shape[1]} matrix of {dtype} for {arch.name}")


def _unknown(found: str) -> CompileError:
    return CompileError(
        found,
        wanted=f"tiles that compile/rocm/matrix_units.py has, {SIDE} x {SIDE} sums in float32",
        fix="give the profile the shape of the chip's matrix unit",
    )
