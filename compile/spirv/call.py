"""A call as the handlers of operations see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx

from ferrylm.compile.spirv.values import INT32, Value
from ferrylm.compile.spirv.writer import Writer


@dataclass(frozen=True)
class Call:
    """The node, the name of what is called, and the arguments without that name."""

    node: Any
    name: str
    arguments: list[Any]

    def values(self, writer: Writer, count: int) -> list[Value]:
        """Return the values of all arguments, of which there must be `count`."""
        if len(self.arguments) != count:
            writer.refuse(f"a call of {self.name} with {len(self.arguments)} arguments", str(count))
        return [writer.evaluate(argument) for argument in self.arguments]

    def number(self, writer: Writer, position: int) -> int:
        """Return an argument that must be a constant integer."""
        argument = self.arguments[position]
        if not isinstance(argument, tirx.IntImm):
            writer.refuse(f"a call of {self.name} with {argument}", "a constant")
        return int(argument)


def nothing(writer: Writer) -> Value:
    """Return what a call without a result gives."""
    return writer.constant(INT32, 0)
