"""Expressions of which only one is evaluated."""

from __future__ import annotations

from typing import Any

from tvm import ir
from tvm_ffi import structural_walk

from ferrylm.compile.spirv import arithmetic
from ferrylm.compile.spirv.enumerants import Op
from ferrylm.compile.spirv.values import Value, part_lanes
from ferrylm.compile.spirv.writer import Writer


def has_memory_access(expression: Any) -> bool:
    """Return whether evaluating an expression may touch memory or have another effect."""
    found: list[Any] = []
    structural_walk(expression, ((ir.TensorLoad, ir.Call), found.append))
    return bool(found)


def choose(writer: Writer, condition: Value, true: Any, false: Any) -> Value:
    """Return the value of the expression that the condition picks; the other is not evaluated."""
    if not (has_memory_access(true) or has_memory_access(false)):
        return arithmetic.select(writer, condition, writer.evaluate(true), writer.evaluate(false))
    if condition.lanes != 1:
        writer.refuse("an if_then_else of vectors that reads memory", "a scalar condition")
    body, module = writer.body, writer.module
    labels = [module.new_id() for _ in range(3)]
    merge = labels[2]
    body.effect(Op.SELECTION_MERGE, merge, 0)
    body.conditional(condition.parts[0], labels[0], labels[1])
    results: list[tuple[Value, int]] = []
    for label, expression in zip(labels[:2], (true, false), strict=True):
        body.begin(label)
        with body.scope():
            value = writer.evaluate(expression)
        results.append((value, body.block))
        body.branch(merge)
    body.begin(merge)
    (first, first_block), (second, second_block) = results
    parts = []
    for size, a, b in zip(part_lanes(first.lanes), first.parts, second.parts, strict=True):
        parts.append(module.new_id())
        kind = writer.id_type(first.scalar, size)
        body.phi(kind, parts[-1], a, first_block, b, second_block)
    return Value(first.scalar, first.lanes, tuple(parts))
