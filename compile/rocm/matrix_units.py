"""Products of float16 tiles on AMD's matrix units, as LLVM functions.

A wave multiplies a tile of 16 rows by one of 16 columns, with sums in float32. A lane's halves of
either factor are of one row or column, lane % 16, and of the same places along it in both: so the
instruction's order of these places does not matter, and a lane reads 16 or 32 bytes as they lie.
Its sums are of column lane % 16. The rest is a MatrixUnit.

Sources: AMD, "RDNA3 Instruction Set Architecture" and "RDNA4 Instruction Set Architecture", section
7.9, Wave Matrix Multiply Accumulate; "AMD Instinct MI300 Instruction Set Architecture", section 7,
Matrix Arithmetic Instructions; AMD's Matrix Instruction Calculator for MI100 and MI200 as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.lane_functions import define, lane_index

SIDE = 16  # rows and columns of a tile of sums
_VECTOR = 8  # halves in 16 bytes, which shared memory counts
_ATTRIBUTES = "convergent nounwind willreturn alwaysinline"
_TILE, _SHARED = "ptr addrspace(5)", "ptr addrspace(3)"


@dataclass(frozen=True)
class MatrixUnit:
    """One kind of matrix unit.

    `columns` is how many places along a row one tile of a factor has, `halves` how many of them a
    lane holds, `sums` how many rows of its column of sums. Row `i * row_step + lane / 16 *
    block_step` is that of sum i. `halves_each` of a lane's halves go into one instruction.
    """

    columns: int
    halves: int
    halves_each: int
    sums: int
    row_step: int
    block_step: int
    intrinsic: str
    flags: str = ""

    @property
    def factor(self) -> str:
        """Return LLVM's type of a lane's part of a factor."""
        return f"<{self.halves} x half>"

    @property
    def total(self) -> str:
        """Return LLVM's type of a lane's sums."""
        return f"<{self.sums} x float>"


# By Architecture.matrix. RDNA3 wants a row in both halves of a wave. Two products of 16 places take
# what a lane of CDNA reads at once.
UNITS: Mapping[str, MatrixUnit] = MappingProxyType(
    {
        "wmma": MatrixUnit(16, 16, 16, 8, 2, 1, "wmma.f32.16x16x16.f16.v8f32.v16f16"),
        "wmma12": MatrixUnit(16, 8, 8, 8, 1, 8, "wmma.f32.16x16x16.f16.v8f32.v8f16"),
        "mfma": MatrixUnit(32, 8, 4, 4, 1, 4, "mfma.f32.16x16x16f16", ", i32 0, i32 0, i32 0"),
    }
)


def function(arch: Architecture, name: str, operation: str) -> str:
    """Return the function of an operation on tiles, for a chip that has matrix units."""
    unit = UNITS[arch.matrix]
    if operation == "coopmat_fill":
        return _fill(name, unit)
    if operation == "coopmat_load":
        return _load(arch, name, unit)
    if operation == "coopmat_mul_add":
        return _multiply_add(name, unit)
    return _store(arch, name, unit)


def _fill(name: str, unit: MatrixUnit) -> str:
    """Return a function that makes all sums of a tile one number."""
    body = [
        f"%one = insertelement {unit.total} poison, float %number, i32 0",
        f"%all = shufflevector {unit.total} %one, {unit.total} poison,"
        f" <{unit.sums} x i32> zeroinitializer",
        f"store {unit.total} %all, {_TILE} %tile, align 4",
        "ret i32 0",
    ]
    return define(name, "i32", f"{_TILE} %tile, float %number", body, _ATTRIBUTES)


def _load(arch: Architecture, name: str, unit: MatrixUnit) -> str:
    """Return a function that loads a factor: its rows or columns lie `stride` vectors apart."""
    body = [
        # Costs no instruction. Without it LLVM would move what is loaded ahead for the next stage
        # behind this one's products, where nothing hides how long it takes.
        'fence syncscope("singlethread") acq_rel',
        *lane_index(arch, "lane"),
        "%line = and i32 %lane, 15",
        "%first = mul i32 %line, %stride",
    ]
    place = "%first"
    if unit.columns > unit.halves:
        body += ["%block = lshr i32 %lane, 4", "%place = add i32 %first, %block"]
        place = "%place"
    body += [
        f"%where = getelementptr <4 x i32>, {_SHARED} %from, i32 {place}",
        f"%part = load {unit.factor}, {_SHARED} %where, align 16",
        f"store {unit.factor} %part, {_TILE} %tile, align 2",
        "ret i32 0",
    ]
    parameters = f"{_TILE} %tile, {_SHARED} %from, i32 %stride"
    return define(name, "i32", parameters, body, _ATTRIBUTES)


def _multiply_add(name: str, unit: MatrixUnit) -> str:
    """Return a function that adds the product of two tiles to a tile of sums."""
    body = [
        f"%a = load {unit.factor}, {_TILE} %left, align 2",
        f"%b = load {unit.factor}, {_TILE} %right, align 2",
        f"%c.0 = load {unit.total}, {_TILE} %sums, align 4",
    ]
    parts = unit.halves // unit.halves_each
    for part in range(parts):
        operands = [_part(unit, source, part, body) for source in ("a", "b")]
        body.append(
            f"%c.{part + 1} = call {unit.total} @llvm.amdgcn.{unit.intrinsic}("
            f"{', '.join(operands)}, {unit.total} %c.{part}{unit.flags})"
        )
    body += [f"store {unit.total} %c.{parts}, {_TILE} %result, align 4", "ret i32 0"]
    parameters = ", ".join(f"{_TILE} %{one}" for one in ("result", "left", "right", "sums"))
    return define(name, "i32", parameters, body, _ATTRIBUTES)


def _part(unit: MatrixUnit, source: str, part: int, body: list[str]) -> str:
    """Return the operand of one instruction, a part of a lane's halves."""
    if unit.halves == unit.halves_each:
        return f"{unit.factor} %{source}"
    places = range(part * unit.halves_each, (part + 1) * unit.halves_each)
    mask = ", ".join(f"i32 {place}" for place in places)
    body.append(
        f"%{source}.{part} = shufflevector {unit.factor} %{source}, {unit.factor} poison,"
        f" <{unit.halves_each} x i32> <{mask}>"
    )
    return f"<{unit.halves_each} x half> %{source}.{part}"


def _store(arch: Architecture, name: str, unit: MatrixUnit) -> str:
    """Return a function that stores a tile of sums; its rows lie `stride` vectors apart."""
    body = [
        *lane_index(arch, "lane"),
        "%column = and i32 %lane, 15",
        "%block = lshr i32 %lane, 4",
        f"%row = mul i32 %block, {unit.block_step}",
        "%apart = shl i32 %stride, 2",
        "%before = mul i32 %row, %apart",
        "%first = add i32 %before, %column",
        f"%sums = load {unit.total}, {_TILE} %tile, align 4",
    ]
    for i in range(unit.sums):
        body += [
            f"%step.{i} = mul i32 %apart, {i * unit.row_step}",
            f"%at.{i} = add i32 %first, %step.{i}",
            f"%where.{i} = getelementptr float, {_SHARED} %to, i32 %at.{i}",
            f"%sum.{i} = extractelement {unit.total} %sums, i32 {i}",
            f"store float %sum.{i}, {_SHARED} %where.{i}, align 4",
        ]
    body.append("ret i32 0")
    parameters = f"{_TILE} %tile, {_SHARED} %to, i32 %stride"
    return define(name, "i32", parameters, body, _ATTRIBUTES)
