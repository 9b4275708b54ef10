"""Read the loop that decides a kernel's speed out of the driver's listing of machine code.

The listing has basic blocks, "BB7:" and then an instruction a line. A branch back to a block that
was entered before closes a loop; its body is all that lies on a way from that block to the branch.
The *hot loop* is the innermost loop that loads most bytes from global memory in one turn: in a
matrix-vector product, the one that reads the weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = re.compile(r"^(BB\d+):")
_TARGET = re.compile(r"\bBB\d+\b")
# Scalar loads are left out: what they read is the same for all lanes. So are scratch loads.
_LOAD = re.compile(r"^(?:global|flat|buffer)_load_(\w+)")
_LOADED_BYTES = {
    "dwordx4": 16, "dwordx3": 12, "dwordx2": 8, "dword": 4, "ushort": 2, "sshort": 2,
    "short": 2, "ubyte": 1, "sbyte": 1,
    "b128": 16, "b96": 12, "b64": 8, "b32": 4, "u16": 2, "i16": 2, "b16": 2, "u8": 1, "i8": 1,
}  # fmt: skip


@dataclass(frozen=True)
class HotLoop:
    """What one turn of the hot loop costs a lane, all ways through its body counted as taken."""

    label: str
    instructions: int  # of every kind, waits and branches included
    vector_instructions: int
    loaded_bytes: int  # by vector loads from global memory
    loops_around: int  # it is inside of so many loops


@dataclass(frozen=True)
class _Block:
    label: str
    instructions: tuple[str, ...]  # without encodings


def hot_loop(listing: str) -> HotLoop | None:
    """Return the hot loop, or None where no loop loads from global memory."""
    blocks = _blocks(listing)
    loops = _loops(blocks)
    innermost = [body for body in loops.values() if not _holds_another(body, loops)]
    costs = [_cost(blocks, body, loops) for body in innermost]
    loading = [cost for cost in costs if cost.loaded_bytes]
    return max(loading, key=lambda cost: (cost.loaded_bytes, cost.instructions), default=None)


def _blocks(listing: str) -> list[_Block]:
    blocks: list[tuple[str, list[str]]] = []
    for line in listing.splitlines():
        if label := _LABEL.match(line):
            blocks.append((label[1], []))
        elif blocks and (text := line.partition(";")[0].strip()):
            blocks[-1][1].append(text)
    return [_Block(label, tuple(lines)) for label, lines in blocks]


def _successors(blocks: list[_Block]) -> list[set[int]]:
    index = {block.label: number for number, block in enumerate(blocks)}
    following: list[set[int]] = []
    for number, block in enumerate(blocks):
        targets: set[int] = set()
        falls = True
        for line in block.instructions:
            if line.startswith(("s_branch", "s_cbranch")):
                targets |= {index[name] for name in _TARGET.findall(line) if name in index}
            if line.startswith(("s_branch", "s_endpgm")):
                falls = False
        if falls and number + 1 < len(blocks):
            targets.add(number + 1)
        following.append(targets)
    return following


def _loops(blocks: list[_Block]) -> dict[int, frozenset[int]]:
    """Return header -> body; the driver lists a loop's header before its body."""
    following = _successors(blocks)
    before: list[set[int]] = [set() for _ in blocks]
    for number, targets in enumerate(following):
        for target in targets:
            before[target].add(number)
    loops: dict[int, frozenset[int]] = {}
    for number, targets in enumerate(following):
        for header in (target for target in targets if target <= number):
            body, open_blocks = {header}, [number]
            while open_blocks:
                block = open_blocks.pop()
                if block not in body:
                    body.add(block)
                    open_blocks += before[block]
            loops[header] = loops.get(header, frozenset()) | body
    return loops


def _holds_another(body: frozenset[int], loops: dict[int, frozenset[int]]) -> bool:
    return any(other < body for other in loops.values())


def _cost(blocks: list[_Block], body: frozenset[int], loops: dict[int, frozenset[int]]) -> HotLoop:
    lines = [line for number in sorted(body) for line in blocks[number].instructions]
    return HotLoop(
        label=blocks[min(body)].label,
        instructions=len(lines),
        vector_instructions=sum(not line.startswith("s_") for line in lines),
        loaded_bytes=sum(map(_loaded_bytes, lines)),
        loops_around=sum(body < other for other in loops.values()),
    )


def _loaded_bytes(line: str) -> int:
    load = _LOAD.match(line)
    if load is None:
        return 0
    for part in load[1].split("_"):
        if part in _LOADED_BYTES:
            return _LOADED_BYTES[part]
    return 0
