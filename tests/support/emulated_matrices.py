"""Cooperative matrices without their instructions, for drivers that have none.

Products of float16 matrices of 8 x 8 by a subgroup of 8 lanes, with sums in float32, in shared
memory of uint32x4: lane l holds row l of left factors and of sums, column l of right factors.
Right factors that lie by rows are gathered, half by half.
Operations that are not these are refused, so that a test cannot pass by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tvm import ir, tirx

from ferrylm.compile.spirv import arithmetic, array_memory, calls, statements
from ferrylm.compile.spirv.call import Call, nothing
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import BuiltIn, Capability, Op
from ferrylm.compile.spirv.launch import subgroup_input
from ferrylm.compile.spirv.packing import from_words, to_words
from ferrylm.compile.spirv.pointers import place_of
from ferrylm.compile.spirv.storage import ArrayMemory, BufferView, Place
from ferrylm.compile.spirv.subgroups import exchange
from ferrylm.compile.spirv.values import FLOAT16, FLOAT32, UINT32, Value
from ferrylm.compile.spirv.writer import Writer

SIZE = 8
_SHUFFLE = (Op.GROUP_NON_UNIFORM_SHUFFLE, Capability.GROUP_NON_UNIFORM_SHUFFLE)
_COLUMN = "tests.coopmat_column"
_LEFT, _RIGHT, _SUMS = range(3)


def _element(pointer: Any) -> tuple[Any, int]:
    (load,) = pointer.args
    return load.source, int(load.indices[0])


class EmulatedMatrices:
    """The handlers of one kernel's operations, and what its tiles hold."""

    def __init__(self) -> None:
        self.factors: dict[tuple[Any, int], Value] = {}
        self.sums: dict[tuple[Any, int], BufferView] = {}
        self.operands: tuple[Value, Value, BufferView]

    def fill(self, writer: Writer, call: Call) -> Value:
        """Handle ferrylm.coopmat_fill."""
        use, dtype, rows, columns = (argument for argument in call.arguments[1:5])
        assert (int(use), str(dtype.value), int(rows), int(columns)) == (_SUMS, "float32", 8, 8)
        element = _element(call.arguments[0])
        if element not in self.sums:
            self._allocate(writer, element)
        zero = writer.evaluate(call.arguments[5])
        self._put(writer, element, writer.broadcast(zero, SIZE))
        return nothing(writer)

    def load(self, writer: Writer, call: Call) -> Value:
        """Handle ferrylm.coopmat_load: a lane takes the 16 bytes of its row or column."""
        use, dtype, rows, columns = (argument for argument in call.arguments[1:5])
        by_columns = call.number(writer, 7)
        wanted = "float32" if int(use) == _SUMS else "float16"
        assert (str(dtype.value), int(rows), int(columns)) == (wanted, SIZE, SIZE)
        assert not by_columns or int(use) == _RIGHT
        element = _element(call.arguments[0])
        if int(use) == _RIGHT and not by_columns:
            self.factors[element] = self._column_of_rows(writer, call)
            return nothing(writer)
        view, place = self._line(writer, call.arguments[5], call.arguments[6])
        if int(use) == _SUMS:
            place = Place(place.first, place.offset, SIZE, 1)
            self._put(
                writer,
                element,
                from_words(writer, array_memory.load(writer, view, place), FLOAT32, SIZE),
            )
        else:
            self.factors[element] = array_memory.load(writer, view, place)
        return nothing(writer)

    def scale(self, writer: Writer, call: Call) -> Value:
        """Handle ferrylm.coopmat_scale."""
        target, factors = (_element(argument) for argument in call.arguments)
        product = arithmetic.binary(
            writer, "mul", self._get(writer, target), self._get(writer, factors)
        )
        self._put(writer, target, product)
        return nothing(writer)

    def multiply_add(self, writer: Writer, call: Call) -> Value:
        """Handle ferrylm.coopmat_mul_add into the tile that is added to."""
        target, left, right, sums = (_element(argument) for argument in call.arguments)
        assert target == sums
        self.operands = (self.factors[left], self.factors[right], self.sums[sums])
        # A loop, because compilers take long for what is unrolled.
        column = ir.Var("column", "int32")
        body = tirx.Evaluate(tirx.call_extern("int32", _COLUMN, column))
        loop = tirx.For(column, tirx.const(0), tirx.const(SIZE), tirx.ForKind.SERIAL, body)
        statements.write(writer, loop)
        return nothing(writer)

    def column(self, writer: Writer, call: Call) -> Value:
        """Add a lane's row times the column that another lane holds to one of its sums."""
        left, right, sums = self.operands
        (number,) = call.values(writer, 1)
        other = self._halves(writer, exchange(writer, *_SHUFFLE, right, number))
        place = Place(number, 0, 1, 1)
        total = array_memory.load(writer, sums, place)
        products = arithmetic.binary(writer, "mul", self._halves(writer, left), other)
        for product in writer.all_lanes(products):
            total = arithmetic.binary(writer, "add", total, product)
        array_memory.store(writer, sums, place, total)
        return nothing(writer)

    def store(self, writer: Writer, call: Call) -> Value:
        """Handle ferrylm.coopmat_store, by rows."""
        assert call.number(writer, 3) == 0
        view, place = self._line(writer, call.arguments[1], call.arguments[2])
        words = to_words(writer, self._get(writer, _element(call.arguments[0])))
        place = Place(place.first, place.offset, SIZE, 1)
        array_memory.store(writer, view, place, words)
        return nothing(writer)

    def _allocate(self, writer: Writer, element: tuple[Any, int]) -> None:
        memory = array_memory.allocate(writer, "sums", FLOAT32, SIZE, shared=False)
        self.sums[element] = BufferView(FLOAT32, 1, memory, None, 4, False)

    def _column_of_rows(self, writer: Writer, call: Call) -> Value:
        """Return the eight halves of this lane's column, one in each of eight rows, as words."""
        view, place = place_of(writer, call.arguments[5])
        assert isinstance(view.storage, ArrayMemory)
        lane = subgroup_input(writer, BuiltIn.SUBGROUP_LOCAL_INVOCATION_ID).typed(UINT32)
        stride = cast(writer, writer.evaluate(call.arguments[6]), UINT32)
        first, words = cast(writer, place.first, UINT32), []
        for row in range(SIZE):
            apart = arithmetic.binary(writer, "mul", stride, writer.constant(UINT32, row))
            at = Place(arithmetic.binary(writer, "add", first, apart), place.offset, 4, 1)
            held = writer.all_lanes(array_memory.load(writer, view, at))
            words.append(_word_of_lane(writer, held, lane))
        return writer.join([_pair(writer, words[i], words[i + 1], lane) for i in range(0, SIZE, 2)])

    def _line(self, writer: Writer, pointer: Any, stride: Any) -> tuple[BufferView, Place]:
        """Return shared memory and the vector where this lane's row or column begins."""
        view, place = place_of(writer, pointer)
        assert isinstance(view.storage, ArrayMemory)
        assert view.storage.lanes == 4, "rows of 16 bytes"
        lane = subgroup_input(writer, BuiltIn.SUBGROUP_LOCAL_INVOCATION_ID).typed(UINT32)
        apart = arithmetic.binary(
            writer, "mul", lane, cast(writer, writer.evaluate(stride), UINT32)
        )
        first = arithmetic.binary(writer, "add", cast(writer, place.first, UINT32), apart)
        return view, Place(first, place.offset, 4, 1)

    def _halves(self, writer: Writer, words: Value) -> Value:
        return cast(writer, from_words(writer, words, FLOAT16, SIZE), FLOAT32)

    def _get(self, writer: Writer, element: tuple[Any, int]) -> Value:
        place = Place(writer.constant(UINT32, 0), 0, SIZE, SIZE)
        return array_memory.load(writer, self.sums[element], place)

    def _put(self, writer: Writer, element: tuple[Any, int], value: Value) -> None:
        if element not in self.sums:
            self._allocate(writer, element)
        place = Place(writer.constant(UINT32, 0), 0, SIZE, SIZE)
        array_memory.store(writer, self.sums[element], place, value)


def _word_of_lane(writer: Writer, words: list[Value], lane: Value) -> Value:
    """Return the word that has the half of column `lane`."""
    pair = arithmetic.binary(writer, "shift_right", lane, writer.constant(UINT32, 1))
    found = words[0]
    for index, word in enumerate(words[1:], 1):
        here = arithmetic.compare(writer, "eq", pair, writer.constant(UINT32, index))
        found = arithmetic.select(writer, here, word, found)
    return found


def _pair(writer: Writer, low: Value, high: Value, lane: Value) -> Value:
    """Return the halves of column `lane` of two words, as a word."""
    odd = arithmetic.binary(writer, "and", lane, writer.constant(UINT32, 1))
    shift = arithmetic.binary(writer, "mul", odd, writer.constant(UINT32, 16))
    mask = writer.constant(UINT32, 0xFFFF)
    halves = [
        arithmetic.binary(
            writer, "and", arithmetic.binary(writer, "shift_right", word, shift), mask
        )
        for word in (low, high)
    ]
    upper = arithmetic.binary(writer, "mul", halves[1], writer.constant(UINT32, 1 << 16))
    return arithmetic.binary(writer, "add", halves[0], upper)


@contextmanager
def emulated() -> Iterator[None]:
    """Let kernels that are built meanwhile do without the instructions.

    Tiles are told apart by their buffers, so several kernels can be built.
    """
    matrices = EmulatedMatrices()
    handlers = {
        "ferrylm.coopmat_fill": matrices.fill,
        "ferrylm.coopmat_load": matrices.load,
        "ferrylm.coopmat_mul_add": matrices.multiply_add,
        "ferrylm.coopmat_store": matrices.store,
        "ferrylm.coopmat_scale": matrices.scale,
        _COLUMN: matrices.column,
    }
    with patch.dict(calls.OPERATIONS, handlers):  # type: ignore[arg-type]
        yield
