"""Products of float16 tiles on AMD's matrix units, as LLVM functions.

A wave multiplies a tile of 16 rows by one of 16 columns, with sums in float32. A lane's halves of
either factor are of one row or column, lane % 16, and of the same places along it in both: so the
instruction's order of these places does not matter, and a lane takes neighbours, as they lie. Its
sums are of column lane % 16. The rest is a MatrixUnit.

Sources: AMD, "RDNA3 Instruction Set Architecture" and "RDNA4 Instruction Set Architecture", section
7.9, Wave Matrix Multiply Accumulate; "AMD Instinct MI300 Instruction Set Architecture", section 7,
Matrix Arithmetic Instructions; AMD's Matrix Instruction Calculator for MI100 and MI200 as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.lane_functions import define, lane_index

SIDE = 16  # rows and columns of a tile of sums
_VECTOR = 8  # halves in 16 bytes, which shared memory counts
_ATTRIBUTES = "convergent nounwind willreturn alwaysinline"
_TILE, _SHARED = "ptr addrspace(5)", "ptr addrspace(3)"
_LOADS = f"{_TILE} %tile, {_SHARED} %from, i32 %stride"


@dataclass(frozen=True)
class MatrixUnit:
    """One kind of matrix unit.

    `blocks` of lanes share the places along a row of a factor, of which a tile may have as many as
    `columns` lists. A lane holds `sums`; number i is of row i * row_step + lane / 16 * block_step.
    """

    columns: tuple[int, ...]
    blocks: int
    sums: int
    row_step: int
    block_step: int
    intrinsic: str
    flags: str = ""

    @property
    def total(self) -> str:
        """Return LLVM's type of a lane's sums."""
        return f"<{self.sums} x float>"

    def halves(self, columns: int) -> int:
        """Return how many halves a lane holds of a factor with so many places along a row."""
        return columns // self.blocks

    def factor(self, columns: int) -> str:
        """Return LLVM's type of a lane's part of a factor."""
        return f"<{self.halves(columns)} x half>"


# By Architecture.matrix. RDNA 3 wants a row in both halves of a wave. CDNA takes 32 columns as two
# products: a lane of it then reads 16 bytes at once.
UNITS: Mapping[str, MatrixUnit] = MappingProxyType(
    {
        "wmma": MatrixUnit((16,), 1, 8, 2, 1, "wmma.f32.16x16x16.f16.v8f32.v16f16"),
        "wmma12": MatrixUnit((16,), 2, 8, 1, 8, "wmma.f32.16x16x16.f16.v8f32.v8f16"),
        "mfma": MatrixUnit((16, 32), 4, 4, 1, 4, "mfma.f32.16x16x16f16", ", i32 0, i32 0, i32 0"),
    }
)


def function(arch: Architecture, name: str, operation: str, constants: Sequence[int]) -> str:
    """Return the function of an operation on tiles, for a chip that has matrix units.

    Operations on factors are given the number of places along a row.
    """
    unit = UNITS[arch.matrix]
    if operation == "coopmat_fill":
        return _fill(name, unit)
    if operation == "coopmat_load":
        return _load(arch, name, unit, constants[0])
    if operation == "coopmat_load_rows":
        return _load_rows(arch, name, unit, constants[0])
    if operation == "coopmat_load_sums":
        return _load_sums(arch, name, unit)
    if operation == "coopmat_mul_add":
        return _multiply_add(name, unit, constants[0])
    if operation == "coopmat_scale":
        return _scale(name, unit)
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


def _places(arch: Architecture) -> list[str]:
    """Return lines that set %line to this lane's row or column and %block to its block of places.

    The fence costs no instruction. Without it LLVM would move what is loaded ahead for the next
    stage behind this one's products, where nothing hides how long it takes.
    """
    return [
        'fence syncscope("singlethread") acq_rel',
        *lane_index(arch, "lane"),
        "%line = and i32 %lane, 15",
        "%block = lshr i32 %lane, 4",
        f"%apart = mul i32 %stride, {_VECTOR}",
    ]


def _first(unit: MatrixUnit, columns: int) -> list[str]:
    """Return lines that set %first to the first place along a row that this lane holds."""
    if unit.blocks == 1:
        return ["%first = add i32 0, 0"]
    return [f"%first = mul i32 %block, {unit.halves(columns)}"]


def _load(arch: Architecture, name: str, unit: MatrixUnit, columns: int) -> str:
    """Return a function that loads a factor whose places along a row are neighbours in memory."""
    factor = unit.factor(columns)
    body = [
        *_places(arch),
        *_first(unit, columns),
        "%before = mul i32 %line, %apart",
        "%at = add i32 %before, %first",
        f"%where = getelementptr half, {_SHARED} %from, i32 %at",
        f"%part = load {factor}, {_SHARED} %where, align {min(16, 2 * unit.halves(columns))}",
        f"store {factor} %part, {_TILE} %tile, align 2",
        "ret i32 0",
    ]
    return define(name, "i32", _LOADS, body, _ATTRIBUTES)


def _load_rows(arch: Architecture, name: str, unit: MatrixUnit, columns: int) -> str:
    """Return a function that loads a right factor whose columns are neighbours in memory."""
    factor = unit.factor(columns)
    body = [*_places(arch), *_first(unit, columns)]
    so_far = "poison"
    for i in range(unit.halves(columns)):
        body += [
            f"%row.{i} = add i32 %first, {i}",
            f"%before.{i} = mul i32 %row.{i}, %apart",
            f"%at.{i} = add i32 %before.{i}, %line",
            f"%where.{i} = getelementptr half, {_SHARED} %from, i32 %at.{i}",
            f"%half.{i} = load half, {_SHARED} %where.{i}, align 2",
            f"%part.{i} = insertelement {factor} {so_far}, half %half.{i}, i32 {i}",
        ]
        so_far = f"%part.{i}"
    body += [f"store {factor} {so_far}, {_TILE} %tile, align 2", "ret i32 0"]
    return define(name, "i32", _LOADS, body, _ATTRIBUTES)


def _multiply_add(name: str, unit: MatrixUnit, columns: int) -> str:
    """Return a function that adds the product of two tiles to a tile of sums."""
    factor, parts = unit.factor(columns), columns // SIDE
    body = [
        f"%a = load {factor}, {_TILE} %left, align 2",
        f"%b = load {factor}, {_TILE} %right, align 2",
        f"%c.0 = load {unit.total}, {_TILE} %sums, align 4",
    ]
    for part in range(parts):
        operands = [_part(unit, columns, source, part, body) for source in ("a", "b")]
        body.append(
            f"%c.{part + 1} = call {unit.total} @llvm.amdgcn.{unit.intrinsic}("
            f"{', '.join(operands)}, {unit.total} %c.{part}{unit.flags})"
        )
    body += [f"store {unit.total} %c.{parts}, {_TILE} %result, align 4", "ret i32 0"]
    parameters = ", ".join(f"{_TILE} %{one}" for one in ("result", "left", "right", "sums"))
    return define(name, "i32", parameters, body, _ATTRIBUTES)


def _part(unit: MatrixUnit, columns: int, source: str, part: int, body: list[str]) -> str:
    """Return the operand of one instruction, a part of a lane's halves."""
    factor, each = unit.factor(columns), unit.halves(SIDE)
    if columns == SIDE:
        return f"{factor} %{source}"
    mask = ", ".join(f"i32 {place}" for place in range(part * each, (part + 1) * each))
    body.append(
        f"%{source}.{part} = shufflevector {factor} %{source}, {factor} poison,"
        f" <{each} x i32> <{mask}>"
    )
    return f"<{each} x half> %{source}.{part}"


def _scale(name: str, unit: MatrixUnit) -> str:
    """Return a function that multiplies a tile of sums by another, number by number."""
    body = [
        f"%sums = load {unit.total}, {_TILE} %tile, align 4",
        f"%each = load {unit.total}, {_TILE} %factors, align 4",
        f"%scaled = fmul {unit.total} %sums, %each",
        f"store {unit.total} %scaled, {_TILE} %tile, align 4",
        "ret i32 0",
    ]
    return define(name, "i32", f"{_TILE} %tile, {_TILE} %factors", body, _ATTRIBUTES)


def _sums_at(arch: Architecture, unit: MatrixUnit) -> list[str]:
    """Return lines that set %where.I to the place of sum I; rows lie %stride vectors apart."""
    body = [
        *lane_index(arch, "lane"),
        "%column = and i32 %lane, 15",
        "%block = lshr i32 %lane, 4",
        f"%row = mul i32 %block, {unit.block_step}",
        "%apart = shl i32 %stride, 2",
        "%before = mul i32 %row, %apart",
        "%first = add i32 %before, %column",
    ]
    for i in range(unit.sums):
        body += [
            f"%step.{i} = mul i32 %apart, {i * unit.row_step}",
            f"%at.{i} = add i32 %first, %step.{i}",
            f"%where.{i} = getelementptr float, {_SHARED} %from, i32 %at.{i}",
        ]
    return body


def _load_sums(arch: Architecture, name: str, unit: MatrixUnit) -> str:
    """Return a function that loads a tile of sums."""
    body = _sums_at(arch, unit)
    so_far = "poison"
    for i in range(unit.sums):
        body += [
            f"%sum.{i} = load float, {_SHARED} %where.{i}, align 4",
            f"%part.{i} = insertelement {unit.total} {so_far}, float %sum.{i}, i32 {i}",
        ]
        so_far = f"%part.{i}"
    body += [f"store {unit.total} {so_far}, {_TILE} %tile, align 4", "ret i32 0"]
    return define(name, "i32", _LOADS, body, _ATTRIBUTES)


def _store(arch: Architecture, name: str, unit: MatrixUnit) -> str:
    """Return a function that stores a tile of sums."""
    body = [*_sums_at(arch, unit), f"%sums = load {unit.total}, {_TILE} %tile, align 4"]
    for i in range(unit.sums):
        body += [
            f"%sum.{i} = extractelement {unit.total} %sums, i32 {i}",
            f"store float %sum.{i}, {_SHARED} %where.{i}, align 4",
        ]
    body.append("ret i32 0")
    return define(name, "i32", _LOADS, body, _ATTRIBUTES)
