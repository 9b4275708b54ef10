"""The instructions of one function: blocks, equal computations found once, dead ones left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ferrylm.compile.spirv.enumerants import LoopControl, Op, StorageClass
from ferrylm.compile.spirv.module_builder import Instruction, ModuleBuilder


class FunctionBody:
    """Instructions in order; `block` is the label of the block that is being written.

    A computation without effects is emitted once for each place that its first occurrence
    dominates: `scope` opens the part of the program that a conditional block dominates.
    """

    def __init__(self, module: ModuleBuilder) -> None:
        self.module = module
        self._variables: list[Instruction] = []
        self._first: list[Instruction] = []
        self._instructions: list[Instruction] = []
        self._removable: set[int] = set()
        self._scopes: list[dict[tuple[object, ...], int]] = [{}]
        self.block = module.new_id()
        self._entry = self.block
        self.ended = False  # nothing can follow in this block: it has left the function or loop

    def pure(self, op: int, type_id: int, *operands: int) -> int:
        """Return the result of a computation without effects."""
        key = (op, type_id, operands)
        for scope in reversed(self._scopes):
            if key in scope:
                return scope[key]
        result = self.removable(op, type_id, *operands)
        self._scopes[-1][key] = result
        return result

    def entry_value(self, op: int, type_id: int, *operands: int) -> int:
        """Return the result of a computation that is made once, at the start of the function."""
        key = (op, type_id, operands)
        if key not in self._scopes[0]:
            result = self.module.new_id()
            self._first.append(Instruction(op, type_id, result, operands))
            self._removable.add(result)
            self._scopes[0][key] = result
        return self._scopes[0][key]

    def removable(self, op: int, type_id: int, *operands: int) -> int:
        """Return the result of an instruction that may be left out but not merged, as a load."""
        result = self.value(op, type_id, *operands)
        self._removable.add(result)
        return result

    def value(self, op: int, type_id: int, *operands: int) -> int:
        """Return the result of an instruction that must stay where it is."""
        result = self.module.new_id()
        self._instructions.append(Instruction(op, type_id, result, operands))
        return result

    def phi(self, type_id: int, result: int, *operands: int) -> None:
        """Write a phi whose result has an id already."""
        self._instructions.append(Instruction(Op.PHI, type_id, result, operands))
        self._removable.add(result)

    def value_with_id(self, op: int, type_id: int, result: int, *operands: int) -> None:
        """Write an instruction that must stay and whose result has an id already."""
        self._instructions.append(Instruction(op, type_id, result, operands))

    def effect(self, op: int, *operands: int) -> None:
        """Write an instruction without a result."""
        self._instructions.append(Instruction(op, None, None, operands))

    def glsl(self, function: int, type_id: int, *operands: int) -> int:
        """Return the result of an extended instruction."""
        return self.pure(Op.EXT_INST, type_id, self.module.glsl(), function, *operands)

    def variable(self, pointee: int) -> int:
        """Return a new variable of the function."""
        result = self.module.new_id()
        pointer = self.module.pointer(StorageClass.FUNCTION, pointee)
        self._variables.append(Instruction(Op.VARIABLE, pointer, result, (StorageClass.FUNCTION,)))
        return result

    def begin(self, label: int) -> None:
        """Start the block `label`."""
        self._instructions.append(Instruction(Op.LABEL, None, label, ()))
        self.block = label
        self.ended = False

    def branch(self, target: int) -> None:
        """End the block with a jump, unless it has ended already."""
        if not self.ended:
            self.effect(Op.BRANCH, target)
        self.ended = True

    def leave(self) -> None:
        """End the block by returning from the function."""
        self.effect(Op.RETURN)
        self.ended = True

    def conditional(self, condition: int, true: int, false: int) -> None:
        """End the block with a choice."""
        self.effect(Op.BRANCH_CONDITIONAL, condition, true, false)

    def loop_merge(self, merge: int, continues: int, control: LoopControl) -> None:
        """Declare that the block is the head of a loop."""
        self.effect(Op.LOOP_MERGE, merge, continues, control)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Keep what is computed inside from being used after it."""
        self._scopes.append({})
        try:
            yield
        finally:
            self._scopes.pop()

    def finish(self, main: int) -> list[Instruction]:
        """Return the function `main` without computations that nothing uses."""
        module = self.module
        void = module.once(Op.TYPE_VOID, None)
        kind = module.once(Op.TYPE_FUNCTION, None, void)
        if not self.ended:
            self.leave()
        live = self._live()
        kept = [
            each
            for each in [*self._first, *self._instructions]
            if each.result not in self._removable or each.result in live
        ]
        variables = [each for each in self._variables if each.result in live]
        head = Instruction(Op.FUNCTION, void, main, (0, kind))
        label = Instruction(Op.LABEL, None, self._entry, ())
        return [head, label, *variables, *kept, Instruction(Op.FUNCTION_END, None, None, ())]

    def _live(self) -> set[int]:
        # Literal operands are taken for ids as well: at worst something unused is kept.
        definitions = {each.result: each for each in [*self._first, *self._instructions]}
        live: set[int] = set()
        pending = [
            operand
            for each in self._instructions
            if each.result not in self._removable
            for operand in each.operands
        ]
        while pending:
            found = pending.pop()
            if found not in live:
                live.add(found)
                if found in definitions:
                    pending += definitions[found].operands
        return live
