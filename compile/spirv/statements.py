"""Statements of TensorIR as structured control flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import ir, tirx

from ferrylm.compile.spirv import buffers, launch
from ferrylm.compile.spirv.arithmetic import binary, compare
from ferrylm.compile.spirv.enumerants import LoopControl, Op
from ferrylm.compile.spirv.expressions import bind
from ferrylm.compile.spirv.values import Value
from ferrylm.compile.spirv.writer import Writer

_LOOPS = {
    int(tirx.ForKind.SERIAL): LoopControl.NONE,
    int(tirx.ForKind.PARALLEL): LoopControl.NONE,
    int(tirx.ForKind.UNROLLED): LoopControl.UNROLL,
}

# Attributes that say nothing about what a kernel computes.
_IGNORED_ATTRIBUTES = (
    "pragma_",
    "tirx.",
    "storage_",
    "realize_",
    "buffer_",
    "hand_threaded",
    "reduce_scope",
)


def write(writer: Writer, statement: Any) -> None:
    """Write a statement, unless what comes before it has left the block."""
    if writer.body.ended:
        return
    handler = _STATEMENTS.get(type(statement))
    if handler is None:
        writer.refuse(f"a statement of kind {type(statement).__name__}")
    handler(writer, statement)


def _sequence(writer: Writer, statement: Any) -> None:
    for each in statement.seq:
        write(writer, each)


def _evaluate(writer: Writer, statement: Any) -> None:
    if not isinstance(statement.value, (tirx.IntImm, ir.Var)):
        writer.evaluate(statement.value)


def _bind(writer: Writer, statement: Any) -> None:
    bind(writer, statement.var, statement.value)


def _attribute(writer: Writer, statement: Any) -> None:
    key = str(statement.attr_key)
    if key == "thread_extent":
        launch.bind_thread(writer, statement.node, statement.value)
    elif key == "virtual_thread":
        writer.refuse("a virtual thread", "the pass InjectVirtualThread before code generation")
    elif not key.startswith(_IGNORED_ATTRIBUTES):
        writer.refuse(f"the attribute {key}")
    write(writer, statement.body)


def _for(writer: Writer, loop: Any) -> None:
    if int(loop.kind) not in _LOOPS:
        writer.refuse(f"a loop of kind {tirx.ForKind(int(loop.kind)).name}", "a lowered loop")
    first, extent = writer.evaluate(loop.min), writer.evaluate(loop.extent)
    end = binary(writer, "add", first, extent)
    step = writer.constant(first.scalar, 1) if loop.step is None else writer.evaluate(loop.step)
    variable = loop.loop_var
    writer.analyzer.bind(variable, ir.Range.from_min_extent(loop.min, loop.extent), True)
    _counted_loop(writer, variable, (first, end, step), _LOOPS[int(loop.kind)], loop.body)


def _counted_loop(
    writer: Writer,
    variable: Any,
    range_: tuple[Value, Value, Value],
    control: LoopControl,
    content: Any,
) -> None:
    body, new_id = writer.body, writer.module.new_id
    first, end, step = range_
    head, inside, continues, merge, index, following = (new_id() for _ in range(6))
    before, kind = body.block, writer.id_type(first.scalar)
    body.branch(head)
    body.begin(head)
    with body.scope():
        body.phi(kind, index, first.parts[0], before, following, continues)
        writer.values[variable] = Value(first.scalar, 1, (index,))
        unfinished = compare(writer, "lt", writer.values[variable], end)
        body.loop_merge(merge, continues, control)
        body.conditional(unfinished.parts[0], inside, merge)
        body.begin(inside)
        with body.scope():
            _inside_loop(writer, merge, continues, content)
        body.branch(continues)
        body.begin(continues)
        body.value_with_id(Op.I_ADD, kind, following, index, step.parts[0])
        body.branch(head)
    body.begin(merge)


def _inside_loop(writer: Writer, merge: int, continues: int, content: Any) -> None:
    writer.loops.append((merge, continues))
    write(writer, content)
    writer.loops.pop()


def _while(writer: Writer, loop: Any) -> None:
    body, new_id = writer.body, writer.module.new_id
    head, test, inside, continues, merge = (new_id() for _ in range(5))
    body.branch(head)
    body.begin(head)
    with body.scope():
        body.loop_merge(merge, continues, LoopControl.NONE)
        body.branch(test)
        body.begin(test)
        condition = writer.evaluate(loop.condition)
        body.conditional(condition.parts[0], inside, merge)
        body.begin(inside)
        with body.scope():
            _inside_loop(writer, merge, continues, loop.body)
        body.branch(continues)
        body.begin(continues)
        body.branch(head)
    body.begin(merge)


def _if(writer: Writer, statement: Any) -> None:
    body, new_id = writer.body, writer.module.new_id
    condition = writer.evaluate(statement.condition)
    true, merge = new_id(), new_id()
    false = merge if statement.else_case is None else new_id()
    body.effect(Op.SELECTION_MERGE, merge, 0)
    body.conditional(condition.parts[0], true, false)
    reachable = statement.else_case is None
    for label, branch in ((true, statement.then_case), (false, statement.else_case)):
        if branch is not None:
            body.begin(label)
            with body.scope():
                write(writer, branch)
            reachable = reachable or not body.ended
            body.branch(merge)
    body.begin(merge)
    if not reachable:
        body.effect(Op.UNREACHABLE)
        body.ended = True


def _break(writer: Writer, _statement: Any) -> None:
    writer.body.branch(writer.loops[-1][0])


def _continue(writer: Writer, _statement: Any) -> None:
    writer.body.branch(writer.loops[-1][1])


def _return(writer: Writer, _statement: Any) -> None:
    writer.body.leave()


def _assert(writer: Writer, statement: Any) -> None:
    writer.refuse(f"the assertion {statement.condition}", "no assertions: nobody could report them")


_STATEMENTS: Mapping[type, Callable[[Writer, Any], None]] = {
    tirx.SeqStmt: _sequence,
    tirx.Evaluate: _evaluate,
    tirx.Bind: _bind,
    tirx.AttrStmt: _attribute,
    tirx.For: _for,
    tirx.While: _while,
    tirx.IfThenElse: _if,
    tirx.BufferStore: buffers.store,
    tirx.AllocBuffer: buffers.allocate,
    tirx.DeclBuffer: buffers.declare,
    tirx.stmt.Break: _break,
    tirx.stmt.Continue: _continue,
    tirx.stmt.Return: _return,
    tirx.AssertStmt: _assert,
}
