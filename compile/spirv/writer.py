"""What all parts of the generator share while they write one kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from tvm.sym import Analyzer

from ferrylm.compile.spirv.enumerants import Capability, Op
from ferrylm.compile.spirv.function_body import FunctionBody
from ferrylm.compile.spirv.module_builder import ModuleBuilder
from ferrylm.compile.spirv.target_features import TargetFeatures
from ferrylm.compile.spirv.values import (
    BOOL,
    FLOAT16,
    UINT32,
    Scalar,
    Value,
    parse_type,
    part_lanes,
)
from ferrylm.errors import CompileError

if TYPE_CHECKING:
    from ferrylm.compile.spirv.storage import BufferView, Storage, Tile

Handler = Callable[["Writer", Any], Value]


class Writer:
    """One kernel while it is written.

    Values are carried in few types: integers below 32 bits in 32, kept sign- or zero-extended;
    halves in float32 where the device has no arithmetic on halves, kept rounded. So only memory
    knows small types, and no arithmetic on them is asked of the device.
    """

    def __init__(
        self,
        name: str,
        target: TargetFeatures,
        subgroup_size: int,
        handlers: Mapping[type, Handler],
    ) -> None:
        self.name, self.target, self.subgroup_size = name, target, subgroup_size
        self.module = ModuleBuilder(target.spirv_version)
        self.module.require(Capability.SHADER, Capability.PHYSICAL_STORAGE_BUFFER_ADDRESSES)
        self.body = FunctionBody(self.module)
        self.analyzer: Any = Analyzer()
        self.values: dict[Any, Value] = {}
        self.storages: dict[Any, Storage] = {}  # by the variable of the allocation
        self.views: dict[Any, BufferView] = {}
        # Cooperative matrices by the elements that name them, and which products of them there are.
        self.tiles: dict[tuple[Any, int], Tile] = {}
        self.products: set[str] = set()
        self.parameters: set[Any] = set()
        self.read_only: set[Any] = set()  # parameters that nothing is written through
        self.seen_types: dict[Any, set[Scalar]] = {}  # of allocations that views share
        self.loops: list[tuple[int, int]] = []  # labels that break and continue go to
        self.words_of: dict[tuple[int, ...], Value] = {}  # what small integers were unpacked from
        self.halves_of: dict[int, int] = {}  # rounded float32 parts as halves
        self.exact: set[int] = set()  # results to be decorated with NoContraction
        self.shared_bytes = 0
        self.local_size = [1, 1, 1]
        self._handlers = handlers

    def refuse(
        self, construct: str, wanted: str = "a construct that Vulkan kernels have"
    ) -> NoReturn:
        """Raise CompileError naming what this kernel contains."""
        raise CompileError(
            f"the kernel {self.name} contains {construct}",
            wanted=wanted,
            fix="change the schedule, or compile the function for the CPU",
        )

    def evaluate(self, expression: Any) -> Value:
        """Write what computes the expression."""
        handler = self._handlers.get(type(expression))
        if handler is None:
            self.refuse(f"an expression of kind {type(expression).__name__}: {expression}")
        return handler(self, expression)

    def type_of(self, expression: Any) -> tuple[Scalar, int]:
        """Return scalar and lanes of an expression."""
        name = str(expression.ty)
        found = parse_type("handle" if name.startswith("T.handle") else name)
        if found is None:
            self.refuse(f"a value of type {name}", "bool, integers, and floats of 16 to 64 bits")
        return found

    def id_type(self, scalar: Scalar, lanes: int = 1) -> int:
        """Return the SPIR-V type in which lanes of a scalar are carried."""
        return self.module.vector(self._id_scalar(scalar), lanes)

    def _id_scalar(self, scalar: Scalar) -> int:
        if scalar == BOOL:
            return self.module.boolean()
        if scalar == FLOAT16 and self.target.float16:
            self.module.require(Capability.FLOAT16)
            return self.module.floating(16)
        bits = max(scalar.bits, 32)
        return self.module.floating(bits) if scalar.is_float else self.module.integer(bits)

    def widened(self, scalar: Scalar) -> bool:
        """Return whether halves are meant and are carried as float32."""
        return scalar == FLOAT16 and not self.target.float16

    @property
    def vulkan_memory_model(self) -> bool:
        """Return whether the kernel has Vulkan's memory model and not GLSL's."""
        return Capability.VULKAN_MEMORY_MODEL in self.module.capabilities

    def constant(self, scalar: Scalar, number: float, lanes: int = 1) -> Value:
        """Return a constant, the same in all lanes."""
        if scalar == BOOL:
            found = self.module.truth(bool(number))
        else:
            found = self.module.constant(self.id_type(scalar), *self._words(scalar, number))
        return self.broadcast(Value(scalar, 1, (found,)), lanes)

    def _words(self, scalar: Scalar, number: float) -> tuple[int, ...]:
        if not scalar.is_float:
            whole = int(number)
            low = (whole & 0xFFFFFFFF,)
            return (*low, (whole >> 32) & 0xFFFFFFFF) if scalar.bits == 64 else low
        if scalar.bits == 64:
            return struct.unpack("<2I", struct.pack("<d", number))
        with np.errstate(over="ignore"):
            rounded = np.float16(number) if scalar.bits == 16 else np.float32(number)
        if scalar == FLOAT16 and self.target.float16:
            return (int(rounded.view(np.uint16)),)
        return (int(np.float32(rounded).view(np.uint32)),)

    def index(self, number: int) -> int:
        """Return the id of a 32-bit integer constant."""
        return self.constant(UINT32, number).parts[0]

    def number(self, value: Value) -> int | None:
        """Return what a scalar 32-bit constant holds, or None for another value."""
        words = self.module.constant_words(value.parts[0]) if value.lanes == 1 else None
        return words[0] if words is not None and len(words) == 1 else None

    def map(self, op: int, result: Scalar, *values: Value) -> Value:
        """Apply an instruction to all lanes."""
        return self._each(result, values, lambda kind, ids: self.body.pure(op, kind, *ids))

    def map_glsl(self, function: int, result: Scalar, *values: Value) -> Value:
        """Apply an extended instruction to all lanes."""
        return self._each(result, values, lambda kind, ids: self.body.glsl(function, kind, *ids))

    def _each(
        self, result: Scalar, values: Sequence[Value], write: Callable[[int, list[int]], int]
    ) -> Value:
        lanes = values[0].lanes
        parts = [
            write(self.id_type(result, size), [value.parts[part] for value in values])
            for part, size in enumerate(part_lanes(lanes))
        ]
        return Value(result, lanes, tuple(parts))

    def lane(self, value: Value, lane: int) -> Value:
        """Return one lane."""
        if value.lanes == 1:
            return value
        sizes = part_lanes(value.lanes)
        part, position = divmod(lane, sizes[0])
        found = value.parts[part]
        if sizes[part] > 1:
            kind = self.id_type(value.scalar)
            found = self.body.pure(Op.COMPOSITE_EXTRACT, kind, found, position)
        return Value(value.scalar, 1, (found,))

    def all_lanes(self, value: Value) -> list[Value]:
        """Return every lane."""
        return [self.lane(value, lane) for lane in range(value.lanes)]

    def join(self, lanes: Sequence[Value]) -> Value:
        """Return a vector of these scalars."""
        scalar, parts, start = lanes[0].scalar, [], 0
        for size in part_lanes(len(lanes)):
            ids = [each.parts[0] for each in lanes[start : start + size]]
            kind = self.id_type(scalar, size)
            parts.append(ids[0] if size == 1 else self._composite(kind, ids))
            start += size
        return Value(scalar, len(lanes), tuple(parts))

    def _composite(self, kind: int, ids: list[int]) -> int:
        if all(self.module.is_constant(each) for each in ids):
            return self.module.composite(kind, ids)
        return self.body.pure(Op.COMPOSITE_CONSTRUCT, kind, *ids)

    def broadcast(self, value: Value, lanes: int) -> Value:
        """Return a scalar in all of `lanes` lanes."""
        return value if lanes == 1 else self.join([value] * lanes)

    def bits_known_zero(self, expression: Any) -> int:
        """Return 2 to the number of low bits that are zero in an integer expression, at most 64."""
        found = self.analyzer.modular_set(expression)
        number = int(found.coeff) | int(found.base)
        return min(number & -number, 64) if number else 64

    def never_negative(self, *expressions: Any) -> bool:
        """Return whether all integer expressions are known to be at least 0."""
        return all(
            self.analyzer.const_int_bound(expression).min_value >= 0 for expression in expressions
        )
