"""Cooperative matrices (SPV_KHR_cooperative_matrix), as calls by name on tiles of local memory.

A tile is an element of a local buffer that nothing else touches; every thread of the subgroup owns
a part of it. Its handle is the element's address, `T.address_of(tile[0])` with a constant index,
and its type is fixed by the first call that names it:

    ferrylm.coopmat_fill(tile, use, dtype, rows, columns, number)
    ferrylm.coopmat_load(tile, use, dtype, rows, columns, pointer, stride, column_major)
    ferrylm.coopmat_mul_add(result, a, b, c)              result = a @ b + c; result may be c
    ferrylm.coopmat_scale(tile, factors)                  tile = tile * factors, number by number
    ferrylm.coopmat_store(tile, pointer, stride, column_major)

`use` is 0 for the left factor, 1 for the right one, 2 for sums. `pointer` is the address of an
element of a global or shared buffer of the tile's own type, or of a shared buffer of uint32x4;
`stride` counts the buffer's elements from row to row (from column to column where column_major is
1). All numbers but `stride` are constants. The calls are `T.call_extern("int32", name, ...)`; all
threads of the subgroup make them together.

Types are int8, uint8, int32, uint32, float16 and float32. Which of them, and which sizes, is the
device's affair (vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR): a product makes its kernel
require a feature such as cooperativeMatrix16x16x16Float16Float32, M x N x K with the type of both
factors and that of the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tvm import ir, tirx

from ferrylm.compile.spirv import array_memory, global_memory
from ferrylm.compile.spirv.call import Call, nothing
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Capability, MemoryAccess, Op, Scope, StorageClass
from ferrylm.compile.spirv.pointers import place_of
from ferrylm.compile.spirv.storage import ArrayMemory, Tile, WordMemory
from ferrylm.compile.spirv.values import FLOAT16, UINT32, Scalar, Value, parse_type
from ferrylm.compile.spirv.writer import Handler, Writer

PREFIX = "ferrylm.coopmat_"  # functions that call these have the Vulkan memory model
_USES = range(3)
_TYPES = {"float": "Float", "int": "Sint", "uint": "Uint"}  # VkComponentTypeKHR
_SIGNED_OPERANDS = (0x1, 0x2, 0x4, 0x8)  # of a, b, c and the result


def _require(writer: Writer) -> None:
    if not writer.target.cooperative_matrix:
        writer.refuse("a cooperative matrix", "a target with supports_cooperative_matrix")
    writer.module.require(Capability.COOPERATIVE_MATRIX)
    writer.module.extensions.add("SPV_KHR_cooperative_matrix")


def _element_of(writer: Writer, pointer: Any) -> tuple[Any, int]:
    if isinstance(pointer, ir.Call) and pointer.op.name == "tirx.address_of":
        (load,) = pointer.args
        if isinstance(load, ir.TensorLoad) and len(load.indices) == 1:
            (index,) = load.indices
            if isinstance(index, tirx.IntImm):
                return load.source, int(index)
    writer.refuse(f"the tile {pointer}", "the address of a local buffer's constant element")


def _component(writer: Writer, name: str) -> tuple[Scalar, int]:
    """Return the scalar of a tile and its SPIR-V type, which is that of memory."""
    found = parse_type(name)
    scalar = found[0] if found is not None else None
    if (
        scalar is None
        or scalar.bits not in (8, 16, 32)
        or (scalar.bits == 16) != (scalar == FLOAT16)
    ):
        writer.refuse(f"a cooperative matrix of {name}")
    module = writer.module
    if scalar == FLOAT16:
        module.require(Capability.FLOAT16, Capability.STORAGE_BUFFER_16BIT_ACCESS)
    if scalar.bits == 8:
        module.require(Capability.INT8, Capability.STORAGE_BUFFER_8BIT_ACCESS)
    kind = module.floating(scalar.bits) if scalar.is_float else module.integer(scalar.bits)
    return scalar, kind


def _declare(writer: Writer, call: Call) -> Tile:
    _require(writer)
    use, rows, columns = (call.number(writer, position) for position in (1, 3, 4))
    if use not in _USES:
        writer.refuse(f"a cooperative matrix of use {use}", "0, 1 or 2")
    scalar, component = _component(writer, str(call.arguments[2].value))
    numbers = (Scope.SUBGROUP, rows, columns, use)
    shape = [writer.index(number) for number in numbers]
    kind = writer.module.once(Op.TYPE_COOPERATIVE_MATRIX, None, component, *shape)
    element = _element_of(writer, call.arguments[0])
    known = writer.tiles.get(element)
    if known is None:
        known = Tile(writer.body.variable(kind), kind, scalar, rows, columns)
        writer.module.name(known.variable, str(element[0].name))
        writer.tiles[element] = known
    if known.type_id != kind or known.scalar != scalar:
        writer.refuse(f"the tile {element[0].name} with two types", "one type for a tile")
    return known


def _tile(writer: Writer, pointer: Any) -> Tile:
    element = _element_of(writer, pointer)
    if element not in writer.tiles:
        writer.refuse(f"the tile {element[0].name} before it was filled or loaded")
    return writer.tiles[element]


def _fill(writer: Writer, call: Call) -> Value:
    tile = _declare(writer, call)
    value = cast(writer, writer.evaluate(call.arguments[5]), tile.scalar).parts[0]
    if tile.scalar.bits == 8:
        value = writer.body.pure(Op.U_CONVERT, writer.module.integer(8), value)
    elif writer.widened(tile.scalar):
        value = writer.body.pure(Op.F_CONVERT, writer.module.floating(16), value)
    found = writer.body.pure(Op.COMPOSITE_CONSTRUCT, tile.type_id, value)
    writer.body.effect(Op.STORE, tile.variable, found)
    return nothing(writer)


def _load(writer: Writer, call: Call) -> Value:
    tile = _declare(writer, call)
    pointer, access = _memory(writer, tile, call.arguments[5])
    stride, layout = _stride(writer, call.arguments[6]), writer.index(call.number(writer, 7))
    operands = (pointer, layout, stride, *access)
    found = writer.body.value(Op.COOPERATIVE_MATRIX_LOAD, tile.type_id, *operands)
    writer.body.effect(Op.STORE, tile.variable, found)
    return nothing(writer)


def _store(writer: Writer, call: Call) -> Value:
    _require(writer)
    tile = _tile(writer, call.arguments[0])
    pointer, access = _memory(writer, tile, call.arguments[1])
    stride, layout = _stride(writer, call.arguments[2]), writer.index(call.number(writer, 3))
    found = writer.body.value(Op.LOAD, tile.type_id, tile.variable)
    operands = (pointer, found, layout, stride, *access)
    writer.body.effect(Op.COOPERATIVE_MATRIX_STORE, *operands)
    return nothing(writer)


def _mul_add(writer: Writer, call: Call) -> Value:
    _require(writer)
    tiles = [_tile(writer, argument) for argument in call.arguments[1:4]]
    element, sums = _element_of(writer, call.arguments[0]), tiles[2]
    if element not in writer.tiles:
        writer.tiles[element] = replace(sums, variable=writer.body.variable(sums.type_id))
    target = writer.tiles[element]
    if target.type_id != sums.type_id:
        writer.refuse("a cooperative product into a tile of another type", "the type of c")
    writer.products.add(_feature(writer, *tiles))
    values = [writer.body.value(Op.LOAD, tile.type_id, tile.variable) for tile in tiles]
    signs = sum(
        bit
        for bit, tile in zip(_SIGNED_OPERANDS, [*tiles, target], strict=True)
        if tile.scalar.is_signed
    )
    operands = (*values, signs) if signs else tuple(values)
    found = writer.body.value(Op.COOPERATIVE_MATRIX_MUL_ADD, target.type_id, *operands)
    writer.body.effect(Op.STORE, target.variable, found)
    return nothing(writer)


def _scale(writer: Writer, call: Call) -> Value:
    _require(writer)
    tile, factors = (_tile(writer, argument) for argument in call.arguments[:2])
    if tile.type_id != factors.type_id or not tile.scalar.is_float:
        writer.refuse("a tile scaled by one of another type", "two tiles of floats of one type")
    values = [writer.body.value(Op.LOAD, tile.type_id, one.variable) for one in (tile, factors)]
    found = writer.body.value(Op.F_MUL, tile.type_id, *values)
    writer.body.effect(Op.STORE, tile.variable, found)
    return nothing(writer)


def _feature(writer: Writer, a: Tile, b: Tile, c: Tile) -> str:
    """Return the name of a product as native/vulkan/cooperative_shapes.cc makes it."""
    if (a.rows, a.columns, b.columns) != (c.rows, b.rows, c.columns) or a.scalar != b.scalar:
        writer.refuse("a cooperative product of matrices that do not fit", "M x K times K x N")
    types = "".join(_TYPES[tile.scalar.code] + str(tile.scalar.bits) for tile in (a, c))
    return f"cooperativeMatrix{c.rows}x{c.columns}x{a.columns}{types}"


def _stride(writer: Writer, expression: Any) -> int:
    return cast(writer, writer.evaluate(expression), UINT32).parts[0]


def _memory(writer: Writer, tile: Tile, pointer: Any) -> tuple[int, tuple[int, ...]]:
    """Return a pointer to the first element, and how memory is accessed."""
    view, place = place_of(writer, pointer)
    vectors = isinstance(view.storage, ArrayMemory) and view.storage.lanes > 1
    if (view.scalar != tile.scalar and not vectors) or isinstance(view.storage, WordMemory):
        writer.refuse(f"a tile of {tile.scalar.name} in memory of {view.scalar.name}")
    if isinstance(view.storage, ArrayMemory):
        array = view.storage
        carried = array.scalar.bits < 32 and not (array.narrow or writer.target.float16)
        if array.storage != StorageClass.WORKGROUP or carried:
            writer.refuse(f"a tile at {pointer}", "shared memory of the tile's own type")
        access: tuple[int, ...] = (MemoryAccess.NON_PRIVATE,)
        return array_memory.element_pointer(writer, array, place, 0), access
    _scalar, component = _component(writer, tile.scalar.name)
    access = (MemoryAccess.ALIGNED, view.scalar.bytes)
    return global_memory.element_pointer(writer, view, place, component), access


OPERATIONS: Mapping[str, Handler] = {
    "ferrylm.coopmat_fill": _fill,
    "ferrylm.coopmat_load": _load,
    "ferrylm.coopmat_store": _store,
    "ferrylm.coopmat_mul_add": _mul_add,
    "ferrylm.coopmat_scale": _scale,
}
