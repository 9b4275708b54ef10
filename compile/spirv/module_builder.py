"""Collect the parts of one SPIR-V module in the order that the specification asks for."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from ferrylm.compile.spirv.enumerants import (
    GL_COMPUTE,
    MAGIC,
    MEMORY_MODEL_GLSL450,
    MEMORY_MODEL_VULKAN,
    PHYSICAL_STORAGE_BUFFER_64,
    BuiltIn,
    Capability,
    Decoration,
    ExecutionMode,
    Op,
    StorageClass,
)

_CONSTANTS = frozenset((Op.CONSTANT, Op.CONSTANT_COMPOSITE, Op.CONSTANT_TRUE, Op.CONSTANT_FALSE))


@dataclass(frozen=True)
class Instruction:
    """One instruction; `operands` are the words after the type and the result."""

    op: int
    type_id: int | None
    result: int | None
    operands: tuple[int, ...]

    def words(self) -> list[int]:
        """Return its encoding."""
        ids = [each for each in (self.type_id, self.result) if each is not None]
        count = 1 + len(ids) + len(self.operands)
        return [(count << 16) | self.op, *ids, *self.operands]


def text_words(text: str) -> tuple[int, ...]:
    """Return a literal string: UTF-8, a zero byte, zeros up to a whole word."""
    data = text.encode() + b"\0"
    data += bytes(-len(data) % 4)
    return struct.unpack(f"<{len(data) // 4}I", data)


@dataclass
class ModuleBuilder:
    """One module with one entry point. Types and constants exist once; ids count up from 1."""

    version: int
    bound: int = 1
    capabilities: set[int] = field(default_factory=set)
    extensions: set[str] = field(default_factory=set)
    _names: list[Instruction] = field(default_factory=list)
    _decorations: list[Instruction] = field(default_factory=list)
    _globals: list[Instruction] = field(default_factory=list)
    _modes: list[tuple[int, ...]] = field(default_factory=list)
    _interface: list[int] = field(default_factory=list)
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)
    _constants: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _fixed: set[int] = field(default_factory=set)
    _glsl: int = 0

    def new_id(self) -> int:
        """Return an id that nothing has yet."""
        self.bound += 1
        return self.bound - 1

    def require(self, *capabilities: Capability) -> None:
        """Declare capabilities."""
        self.capabilities.update(int(each) for each in capabilities)

    def glsl(self) -> int:
        """Return the id of the GLSL.std.450 import."""
        if not self._glsl:
            self._glsl = self.new_id()
        return self._glsl

    def once(self, op: Op, type_id: int | None, *operands: int) -> int:
        """Return the id of a type or constant, which is declared if it is new."""
        key = (op, type_id, operands)
        if key not in self._known:
            self._known[key] = self.new_id()
            instruction = Instruction(op, type_id, self._known[key], operands)
            self._globals.append(instruction)
            if op in _CONSTANTS:
                self._fixed.add(self._known[key])
        return self._known[key]

    def boolean(self) -> int:
        """Return the type bool."""
        return self.once(Op.TYPE_BOOL, None)

    def integer(self, bits: int) -> int:
        """Return the integer type; all are without sign, which is the instructions' affair."""
        if bits == 64:
            self.require(Capability.INT64)
        return self.once(Op.TYPE_INT, None, bits, 0)

    def floating(self, bits: int) -> int:
        """Return the float type."""
        if bits == 64:
            self.require(Capability.FLOAT64)
        return self.once(Op.TYPE_FLOAT, None, bits)

    def vector(self, scalar: int, lanes: int) -> int:
        """Return the vector type, or the scalar type itself for one lane."""
        return scalar if lanes == 1 else self.once(Op.TYPE_VECTOR, None, scalar, lanes)

    def pointer(self, storage: StorageClass, pointee: int) -> int:
        """Return the pointer type."""
        return self.once(Op.TYPE_POINTER, None, storage, pointee)

    def array(self, element: int, length: int) -> int:
        """Return the array type without an explicit layout."""
        return self.once(Op.TYPE_ARRAY, None, element, self.constant(self.integer(32), length))

    def block(self, members: Sequence[int], offsets: Sequence[int], *, read_only: bool) -> int:
        """Return a struct type decorated as a block with members at byte offsets."""
        key = ("block", tuple(members), tuple(offsets), read_only)
        if key not in self._known:
            found = self.new_id()
            self._known[key] = found
            self._globals.append(Instruction(Op.TYPE_STRUCT, None, found, tuple(members)))
            self.decorate(found, Decoration.BLOCK)
            for member, offset in enumerate(offsets):
                self._member_decorate(found, member, Decoration.OFFSET, offset)
                if read_only:
                    self._member_decorate(found, member, Decoration.NON_WRITABLE)
        return self._known[key]

    def constant(self, type_id: int, *words: int) -> int:
        """Return a scalar constant by its words, low order first."""
        found = self.once(Op.CONSTANT, type_id, *words)
        self._constants[found] = words
        return found

    def truth(self, value: bool) -> int:
        """Return the constant true or false."""
        return self.once(Op.CONSTANT_TRUE if value else Op.CONSTANT_FALSE, self.boolean())

    def composite(self, type_id: int, parts: Sequence[int]) -> int:
        """Return a constant vector."""
        return self.once(Op.CONSTANT_COMPOSITE, type_id, *parts)

    def is_constant(self, value: int) -> bool:
        """Return whether an id is that of a constant."""
        return value in self._fixed

    def constant_words(self, value: int) -> tuple[int, ...] | None:
        """Return the words of a scalar constant, or None for another id."""
        return self._constants.get(value)

    def variable(self, storage: StorageClass, pointee: int) -> int:
        """Return a new module variable, which becomes part of the interface."""
        found = self.new_id()
        pointer = self.pointer(storage, pointee)
        self._globals.append(Instruction(Op.VARIABLE, pointer, found, (storage,)))
        self._interface.append(found)
        return found

    def builtin(self, builtin: BuiltIn, pointee: int) -> int:
        """Return the input variable of a built-in."""
        key = ("builtin", builtin)
        if key not in self._known:
            self._known[key] = self.variable(StorageClass.INPUT, pointee)
            self.decorate(self._known[key], Decoration.BUILT_IN, builtin)
        return self._known[key]

    def name(self, target: int, text: str) -> None:
        """Give an id a name for debugging tools."""
        self._names.append(Instruction(Op.NAME, None, None, (target, *text_words(text))))

    def decorate(self, target: int, decoration: Decoration, *operands: int) -> None:
        """Decorate an id."""
        words = (target, decoration, *operands)
        self._decorations.append(Instruction(Op.DECORATE, None, None, words))

    def _member_decorate(self, target: int, member: int, decoration: int, *operands: int) -> None:
        words = (target, member, decoration, *operands)
        self._decorations.append(Instruction(Op.MEMBER_DECORATE, None, None, words))

    def execution_mode(self, mode: ExecutionMode, *operands: int) -> None:
        """Set a property of the entry point."""
        self._modes.append((mode, *operands))

    def finish(self, main: int, function: Sequence[Instruction]) -> bytes:
        """Return the module, whose entry point is the function with the id `main`."""
        defined = {each.result for each in [*self._globals, *function]}
        self._names = [each for each in self._names if each.operands[0] in defined]
        self._decorations = [each for each in self._decorations if each.operands[0] in defined]
        words = [MAGIC, self.version, 0, self.bound, 0]
        for instruction in [*self._preamble(main), *function]:
            words += instruction.words()
        return struct.pack(f"<{len(words)}I", *words)

    def _preamble(self, main: int) -> list[Instruction]:
        vulkan_model = Capability.VULKAN_MEMORY_MODEL in self.capabilities
        model = MEMORY_MODEL_VULKAN if vulkan_model else MEMORY_MODEL_GLSL450
        entry = (GL_COMPUTE, main, *text_words("main"), *self._interface)
        parts = [_plain(Op.CAPABILITY, each) for each in sorted(self.capabilities)]
        parts += [_plain(Op.EXTENSION, *text_words(each)) for each in sorted(self.extensions)]
        if self._glsl:
            words = text_words("GLSL.std.450")
            parts.append(Instruction(Op.EXT_INST_IMPORT, None, self._glsl, words))
        parts.append(_plain(Op.MEMORY_MODEL, PHYSICAL_STORAGE_BUFFER_64, model))
        parts.append(_plain(Op.ENTRY_POINT, *entry))
        parts += [_plain(Op.EXECUTION_MODE, main, *mode) for mode in self._modes]
        return [*parts, *self._names, *self._decorations, *self._globals]


def _plain(op: Op, *operands: int) -> Instruction:
    return Instruction(op, None, None, operands)
