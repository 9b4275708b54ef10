"""Cooperative matrices of a kernel become values of a chip's matrix unit.

A kernel names a tile as an element of a local buffer (compile/spirv/cooperative_matrix.py has the
calls). Here such a buffer becomes one of vectors, of as many halves or sums as a lane holds, and
calls name functions of matrix_units.py. So one TensorIR function serves all units. Runs after
`lower_operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import ir, tirx
from tvm_ffi import structural_map, structural_walk

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.matrix_units import SIDE, UNITS, MatrixUnit
from ferrylm.errors import CompileError

_PREFIX = "ferrylm.coopmat_"
_LEFT, _RIGHT, _SUMS = range(3)
_ROWS = 0  # what is contiguous; 1 is columns
_TILES = {"fill": 1, "load": 1, "mul_add": 4, "scale": 2, "store": 1}  # the first arguments


@dataclass(frozen=True)
class _Tile:
    """What a buffer's tiles are: `columns` is the number of places along a row of a factor."""

    use: int
    columns: int


def with_matrix_tiles(module: Any, arch: Architecture) -> Any:
    """Return lowered device functions with tiles as the chip's matrix unit holds them.

    Raises CompileError for a tile that it does not have.
    """
    kept = {variable: _with_tiles(func, arch) for variable, func in module.functions.items()}
    return tvm.IRModule(kept)


def _with_tiles(func: Any, arch: Architecture) -> Any:
    calls = _calls(func.body)
    if not calls:
        return func
    unit = UNITS.get(arch.matrix)
    if unit is None:
        raise CompileError(
            f"a kernel that multiplies matrices, for {arch.name}",
            wanted="a chip with matrix units",
            fix="leave the architecture out, or compile it into a library without them",
        )
    tiles: dict[Any, _Tile] = {}
    for call in calls:
        _check_memory(call, arch)
        if _operation(call) not in ("fill", "load"):
            continue
        tile = _declared(call, unit, arch)
        if tiles.setdefault(_buffer(call.args[1]), tile) != tile:
            raise _unknown(f"a tile of two shapes, for {arch.name}")
    made = {buffer: _vectors(buffer, tile, unit) for buffer, tile in tiles.items()}

    def allocation(statement: Any) -> Any:
        found = made.get(statement.buffer)
        return statement if found is None else tirx.AllocBuffer(found)

    def load(one: Any) -> Any:
        found = made.get(one.source)
        return one if found is None else tirx.BufferLoad(found, list(one.indices))

    # Calls first: what they name is still the buffer of tiles there.
    body = structural_map(func.body, (ir.Call, lambda call: _renamed(call, tiles)))
    body = structural_map(body, [(tirx.AllocBuffer, allocation), (ir.TensorLoad, load)])
    return func.with_body(body)


def _operation(call: Any) -> str | None:
    """Return which operation on tiles a call is."""
    if not isinstance(call.op, ir.Op) or call.op.name != "tirx.call_extern":
        return None
    name = str(call.args[0].value)
    return name[len(_PREFIX) :] if name.startswith(_PREFIX) else None


def _buffer(pointer: Any) -> Any:
    """Return the buffer of which a tile is an element."""
    return pointer.args[0].source


def _calls(body: Any) -> list[Any]:
    """Return the calls on tiles."""
    found: list[Any] = []

    def visit(call: Any) -> None:
        if _operation(call) is not None:
            found.append(call)

    structural_walk(body, (ir.Call, visit))
    return found


def _check_memory(call: Any, arch: Architecture) -> None:
    """Refuse memory of another kind, and neighbours in it that are not those of a lane or a row."""
    operation, contiguous = _operation(call), call.args[len(call.args) - 1]
    if operation not in ("load", "store"):
        return
    memory = _buffer(call.args[len(call.args) - 3])
    if (memory.scope(), str(memory.ty.dtype)) != ("shared", "uint32x4"):
        raise _unknown(f"a tile in {memory.scope()} memory of {memory.ty.dtype}, for {arch.name}")
    by_columns = operation == "load" and int(call.args[2]) == _RIGHT
    if int(contiguous) != _ROWS and not by_columns:
        raise _unknown(f"a tile by columns, for {arch.name}")


def _declared(call: Any, unit: MatrixUnit, arch: Architecture) -> _Tile:
    """Return the tile that a call declares. Raises CompileError for one that the unit has not."""
    use, rows, columns = (int(call.args[position]) for position in (2, 4, 5))
    places = {_LEFT: columns, _RIGHT: rows}.get(use, SIDE)
    wanted = {
        _LEFT: ("float16", SIDE, places),
        _RIGHT: ("float16", places, SIDE),
        _SUMS: ("float32", SIDE, SIDE),
    }
    dtype = str(call.args[3].value)
    if wanted.get(use) != (dtype, rows, columns) or places not in (*unit.columns, SIDE):
        raise _unknown(f"a {rows} x {columns} matrix of {dtype} for {arch.name}")
    return _Tile(use, places)


def _vectors(buffer: Any, tile: _Tile, unit: MatrixUnit) -> Any:
    """Return a buffer with a lane's part of a tile in each element."""
    halves = f"float16x{unit.halves(tile.columns)}"
    dtype = f"float32x{unit.sums}" if tile.use == _SUMS else halves
    shape = list(buffer.ty.shape)
    return tirx.decl_buffer(shape, dtype, str(buffer.name), scope="local", layout=None)


def _renamed(call: Any, tiles: Mapping[Any, _Tile]) -> Any:
    """Return a call on tiles as one of the function of matrix_units.py, with its arguments."""
    operation = _operation(call)
    if operation is None:
        return call
    arguments = list(call.args[1:])
    kept = arguments[: _TILES[operation]]
    if operation == "fill":
        kept.append(arguments[5])
    elif operation == "load":
        tile = tiles[_buffer(arguments[0])]
        operation = _load(tile, int(arguments[7]))
        kept += arguments[5:7]
    elif operation == "mul_add":
        operation += f".{tiles[_buffer(arguments[1])].columns}"
    elif operation == "store":
        kept += arguments[1:3]
    return tirx.call_extern("int32", _PREFIX + operation, *kept)


def _load(tile: _Tile, contiguous: int) -> str:
    """Return the name of the function that loads a tile."""
    if tile.use == _SUMS:
        return "load_sums"
    by_rows = tile.use == _RIGHT and contiguous == _ROWS
    return f"load_rows.{tile.columns}" if by_rows else f"load.{tile.columns}"


def _unknown(found: str) -> CompileError:
    return CompileError(
        found,
        wanted=f"{SIDE} x {SIDE} sums in float32, and factors by rows in shared memory of uint32x4",
        fix="give the profile the shape of the chip's matrix unit",
    )
