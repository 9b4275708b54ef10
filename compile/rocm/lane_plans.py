"""How lanes of a wave exchange values, as data: a plan is a list of moves.

The code generator prints a plan as LLVM instructions; the tests execute it in numpy. Moves of
32-bit words, over all lanes of a wave:

- `Dpp(control)`: data-parallel primitive, as an operand of the next instruction; rows of 16 lanes;
- `Swizzle(pattern)`: ds_swizzle in bit mode, within 32 lanes;
- `ExchangeRows()`: v_permlanex16, lane i of a row gets lane i of the row beside it;
- `Across()`: ds_bpermute, any lane to any lane, by `lane ^ mask`.

Sources: AMD's RDNA 2 ISA, chapter "Data Parallel Primitives"; GCN3/Vega ISA, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.compile.rocm.architectures import Architecture

_ROW_MIRROR = 0x140
_ROW_HALF_MIRROR = 0x141
_ROW_ROTATE_8 = 0x128
_ROW_XMASK = 0x160


@dataclass(frozen=True)
class Dpp:
    """Read another lane of the row, chosen by `control`."""

    control: int


@dataclass(frozen=True)
class Swizzle:
    """Read the lane `lane ^ mask` within 32 lanes."""

    mask: int

    @property
    def pattern(self) -> int:
        """Return the instruction's offset: exclusive-or mask, or mask 0, and mask 31."""
        return self.mask << 10 | 0x1F


@dataclass(frozen=True)
class ExchangeRows:
    """Read the same lane of the neighbouring row, lane ^ 16."""


@dataclass(frozen=True)
class Across:
    """Read lane ^ mask, anywhere in the wave."""

    mask: int


Move = Dpp | Swizzle | ExchangeRows | Across


def exclusive_or(arch: Architecture, mask: int) -> Move:
    """Return the cheapest move that reads lane ^ mask, 0 < mask < wave."""
    if not 0 < mask < arch.wave:
        raise ValueError(f"mask {mask} in waves of {arch.wave}")
    if mask < 4:
        return Dpp(sum((lane ^ mask) << 2 * lane for lane in range(4)))
    if mask < 16 and arch.lanes == "rdna":
        return Dpp(_ROW_XMASK | mask)
    known = {7: _ROW_HALF_MIRROR, 8: _ROW_ROTATE_8, 15: _ROW_MIRROR}
    if mask in known:
        return Dpp(known[mask])
    if mask == 16 and arch.lanes == "rdna":
        return ExchangeRows()
    return Swizzle(mask) if mask < 32 else Across(mask)


def butterfly(arch: Architecture, width: int) -> tuple[Move, ...]:
    """Return the moves that combine `width` neighbouring lanes, every lane getting the result.

    After the steps 1 and 2 the four lanes of a quad are equal, so that a mirrored half row reads
    what lane ^ 4 would: GCN has a mirror, but no exclusive or by 4. Every lane adds the same two
    numbers in each step, so all lanes of a cluster get bit for bit the same sum.
    """
    if width & (width - 1) or not 1 <= width <= arch.wave:
        raise ValueError(f"clusters of {width} in waves of {arch.wave}")
    moves: list[Move] = []
    mask = 1
    while mask < width:
        halved = mask == 4 and arch.lanes == "gcn"
        moves.append(Dpp(_ROW_HALF_MIRROR) if halved else exclusive_or(arch, mask))
        mask *= 2
    return tuple(moves)
