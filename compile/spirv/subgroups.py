"""Reductions and exchanges within a subgroup."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ferrylm.compile.spirv import arithmetic
from ferrylm.compile.spirv.call import Call
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import (
    BuiltIn,
    Capability,
    GroupOperation,
    Op,
    Scope,
)
from ferrylm.compile.spirv.launch import subgroup_input
from ferrylm.compile.spirv.values import BOOL, FLOAT16, FLOAT32, INT32, UINT32, Scalar, Value
from ferrylm.compile.spirv.writer import Handler, Writer

_REDUCTIONS: Mapping[str, tuple[int, int, int]] = {
    "add": (
        Op.GROUP_NON_UNIFORM_F_ADD,
        Op.GROUP_NON_UNIFORM_I_ADD,
        Op.GROUP_NON_UNIFORM_I_ADD,
    ),
    "max": (
        Op.GROUP_NON_UNIFORM_F_MAX,
        Op.GROUP_NON_UNIFORM_S_MAX,
        Op.GROUP_NON_UNIFORM_U_MAX,
    ),
}


def _in_wide_type(writer: Writer, value: Value, apply: Callable[[Value], Value]) -> Value:
    """Apply to a type of 32 bits or more: smaller ones need a feature that few devices have."""
    scalar = value.scalar
    if scalar == BOOL:
        return cast(writer, apply(cast(writer, value, INT32)), BOOL)
    if scalar == FLOAT16:
        return cast(writer, apply(cast(writer, value, FLOAT32)), FLOAT16)
    if scalar.bits == 64:
        writer.refuse(f"a subgroup operation on {scalar.name}", "32 bits or fewer")
    return apply(value)


def _each_lane(writer: Writer, value: Value, apply: Callable[[Value], Value]) -> Value:
    return writer.join([apply(lane) for lane in writer.all_lanes(value)])


def _operation(
    writer: Writer, op: int, scalar: Scalar, capability: Capability, *operands: int
) -> Value:
    """Write a group operation. It stays where it is, as its result depends on who takes part."""
    writer.module.require(Capability.GROUP_NON_UNIFORM, capability)
    scope = writer.index(Scope.SUBGROUP)
    return Value(scalar, 1, (writer.body.value(op, writer.id_type(scalar), scope, *operands),))


def _reduce(name: str) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        (value,) = call.values(writer, 1)
        return reduce(writer, name, value, writer.subgroup_size)

    return handle


def _clustered(name: str) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        width = call.number(writer, 1)
        if width < 1 or width & (width - 1):
            writer.refuse(f"a reduction over {width} lanes", "a power of two")
        return reduce(writer, name, writer.evaluate(call.arguments[0]), width)

    return handle


def reduce(writer: Writer, name: str, value: Value, width: int) -> Value:
    """Reduce over aligned groups of `width` lanes; 0 is the whole subgroup."""

    def wide(whole: Value) -> Value:
        return _each_lane(writer, whole, lambda lane: _reduce_lane(writer, name, lane, width))

    return _in_wide_type(writer, value, wide) if width != 1 else value


def _reduce_lane(writer: Writer, name: str, value: Value, width: int) -> Value:
    scalar, known = value.scalar, writer.subgroup_size
    choices = _REDUCTIONS[name]
    op = choices[0] if scalar.is_float else choices[1] if scalar.is_signed else choices[2]
    arithmetic_capability = Capability.GROUP_NON_UNIFORM_ARITHMETIC
    if width == known:
        whole = (GroupOperation.REDUCE, value.parts[0])
        return _operation(writer, op, scalar, arithmetic_capability, *whole)
    if known and width > known:
        writer.refuse(f"a reduction over {width} lanes", f"at most the subgroup's {known}")
    if writer.target.clustered(known):
        operands = (GroupOperation.CLUSTERED_REDUCE, value.parts[0], writer.index(width))
        writer.module.require(arithmetic_capability)
        capability = Capability.GROUP_NON_UNIFORM_CLUSTERED
        return _operation(writer, op, scalar, capability, *operands)
    return _butterfly(writer, name, value, width)


def _butterfly(writer: Writer, name: str, value: Value, width: int) -> Value:
    distance = 1
    while distance < width:
        other = _shuffle_xor_lane(writer, value, writer.index(distance))
        if name == "add":
            value = arithmetic.binary(writer, "add", value, other)
        else:
            value = arithmetic.extreme(writer, name, value, other)
        distance *= 2
    return value


def _shuffle_xor_lane(writer: Writer, value: Value, mask: int) -> Value:
    op, capability = Op.GROUP_NON_UNIFORM_SHUFFLE_XOR, Capability.GROUP_NON_UNIFORM_SHUFFLE
    return _operation(writer, op, value.scalar, capability, value.parts[0], mask)


def _exchange(op: Op, capability: Capability) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        value, other = call.values(writer, 2)
        return exchange(writer, op, capability, value, other)

    return handle


def exchange(writer: Writer, op: Op, capability: Capability, value: Value, other: Value) -> Value:
    """Return the value of another lane; `other` says which, by the meaning of `op`."""
    index = cast(writer, other, UINT32).parts[0]

    def lane(each: Value) -> Value:
        return _operation(writer, op, each.scalar, capability, each.parts[0], index)

    return _in_wide_type(writer, value, lambda wide: _each_lane(writer, wide, lane))


def _broadcast(writer: Writer, call: Call) -> Value:
    source = writer.constant(UINT32, call.number(writer, 1))
    op, capability = Op.GROUP_NON_UNIFORM_BROADCAST, Capability.GROUP_NON_UNIFORM_BALLOT
    return exchange(writer, op, capability, writer.evaluate(call.arguments[0]), source)


def _lane(writer: Writer, _call: Call) -> Value:
    return subgroup_input(writer, BuiltIn.SUBGROUP_LOCAL_INVOCATION_ID)


def _subgroup(writer: Writer, _call: Call) -> Value:
    return subgroup_input(writer, BuiltIn.SUBGROUP_ID)


def _warp_shuffle(writer: Writer, call: Call) -> Value:
    """Handle tvm_warp_shuffle (mask, value, lane, width, size): lanes count within a width."""
    _mask, value, source, _width, _size = call.values(writer, 5)
    width = call.number(writer, 3)
    source = cast(writer, source, UINT32)
    lane = _lane(writer, call).typed(UINT32)
    inside = arithmetic.binary(writer, "and", source, writer.constant(UINT32, width - 1))
    start = arithmetic.binary(writer, "and", lane, writer.constant(UINT32, -width & 0xFFFFFFFF))
    found = arithmetic.binary(writer, "or", start, inside)
    op, capability = Op.GROUP_NON_UNIFORM_SHUFFLE, Capability.GROUP_NON_UNIFORM_SHUFFLE
    return exchange(writer, op, capability, value, found)


def _warp_shuffle_by(sign: int) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        _mask, value, distance, _width, _size = call.values(writer, 5)
        width = call.number(writer, 3)
        lane = _lane(writer, call)
        name = "add" if sign > 0 else "sub"
        source = arithmetic.binary(writer, name, lane, cast(writer, distance, INT32))
        # A lane whose source lies outside its part of the subgroup keeps its own value.
        moved = arithmetic.binary(writer, "xor", source, lane).typed(UINT32)
        inside = arithmetic.compare(writer, "lt", moved, writer.constant(UINT32, width))
        found = arithmetic.select(writer, inside, source, lane)
        op, capability = Op.GROUP_NON_UNIFORM_SHUFFLE, Capability.GROUP_NON_UNIFORM_SHUFFLE
        return exchange(writer, op, capability, value, found)

    return handle


def _warp_shuffle_xor(writer: Writer, call: Call) -> Value:
    _mask, value, mask, _width, _size = call.values(writer, 5)
    op, capability = Op.GROUP_NON_UNIFORM_SHUFFLE_XOR, Capability.GROUP_NON_UNIFORM_SHUFFLE
    return exchange(writer, op, capability, value, mask)


def _active_mask(writer: Writer, _call: Call) -> Value:
    kind = writer.id_type(UINT32, 4)
    writer.module.require(Capability.GROUP_NON_UNIFORM, Capability.GROUP_NON_UNIFORM_BALLOT)
    scope, true = writer.index(Scope.SUBGROUP), writer.constant(BOOL, 1).parts[0]
    found = writer.body.value(Op.GROUP_NON_UNIFORM_BALLOT, kind, scope, true)
    return writer.lane(Value(UINT32, 4, (found,)), 0)


_SHUFFLE = Capability.GROUP_NON_UNIFORM_SHUFFLE
OPERATIONS: Mapping[str, Handler] = {
    "ferrylm.subgroup_add": _reduce("add"),
    "ferrylm.subgroup_max": _reduce("max"),
    "ferrylm.subgroup_add_clustered": _clustered("add"),
    "ferrylm.subgroup_max_clustered": _clustered("max"),
    "ferrylm.subgroup_shuffle": _exchange(Op.GROUP_NON_UNIFORM_SHUFFLE, _SHUFFLE),
    "ferrylm.subgroup_shuffle_xor": _exchange(Op.GROUP_NON_UNIFORM_SHUFFLE_XOR, _SHUFFLE),
    "ferrylm.subgroup_broadcast": _broadcast,
    "ferrylm.subgroup_lane": _lane,
    "ferrylm.subgroup_id": _subgroup,
    "tirx.tvm_warp_shuffle": _warp_shuffle,
    "tirx.tvm_warp_shuffle_up": _warp_shuffle_by(-1),
    "tirx.tvm_warp_shuffle_down": _warp_shuffle_by(1),
    "tirx.tvm_warp_shuffle_xor": _warp_shuffle_xor,
    "tirx.tvm_warp_activemask": _active_mask,
}
