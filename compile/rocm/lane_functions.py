"""Operations over the lanes of a wave, as LLVM functions.

All of them assume that every lane of the wave is active, as the operations' contract says. Inputs
and results are taken apart into 32-bit words; see `lane_plans` for the moves.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.lane_plans import (
    Across,
    Dpp,
    ExchangeRows,
    Move,
    Swizzle,
    butterfly,
    exclusive_or,
)
from ferrylm.compile.rocm.llvm_types import ValueType, from_words, to_words

CONVERGENT = "convergent nounwind willreturn memory(none) alwaysinline"
_SYNCHRONIZES = "convergent nounwind alwaysinline"
_FENCES = "nounwind alwaysinline"


def define(name: str, result: str, parameters: str, body: Sequence[str], attributes: str) -> str:
    """Return the text of one internal function whose last line of `body` returns."""
    lines = "\n".join(f"  {line}" for line in body)
    return f"define internal {result} @{name}({parameters}) {attributes} {{\n{lines}\n}}\n"


def lane_index(arch: Architecture, name: str) -> list[str]:
    """Return lines that set `%name` to this lane's number: the count of lanes before it."""
    low = f"%{name}.low" if arch.wave == 64 else f"%{name}"
    lines = [f"{low} = call i32 @llvm.amdgcn.mbcnt.lo(i32 -1, i32 0)"]
    if arch.wave == 64:
        lines.append(f"%{name} = call i32 @llvm.amdgcn.mbcnt.hi(i32 -1, i32 {low})")
    return lines


def _move(arch: Architecture, move: Move, source: str, target: str) -> list[str]:
    if isinstance(move, Dpp):
        how = f"i32 {move.control}, i32 15, i32 15, i1 true"
        call = f"@llvm.amdgcn.update.dpp.i32(i32 poison, i32 {source}, {how})"
        return [f"%{target} = call i32 {call}"]
    if isinstance(move, Swizzle):
        return [f"%{target} = call i32 @llvm.amdgcn.ds.swizzle(i32 {source}, i32 {move.pattern})"]
    if isinstance(move, ExchangeRows):
        same_lane = f"i32 {0x76543210}, i32 {0xFEDCBA98 - (1 << 32)}, i1 false, i1 false"
        call = f"@llvm.amdgcn.permlanex16.i32(i32 poison, i32 {source}, {same_lane})"
        return [f"%{target} = call i32 {call}"]
    assert isinstance(move, Across)
    return [
        *lane_index(arch, f"{target}.lane"),
        f"%{target}.other = xor i32 %{target}.lane, {move.mask}",
        *_permute(source, f"%{target}.other", target),
    ]


def _permute(source: str, lane: str, target: str) -> list[str]:
    return [
        f"%{target}.address = shl i32 {lane}, 2",
        f"%{target} = call i32 @llvm.amdgcn.ds.bpermute(i32 %{target}.address, i32 {source})",
    ]


def reduction(arch: Architecture, name: str, value: ValueType, combine: str, width: int) -> str:
    """Return a function that combines clusters of `width` lanes by "add" or "max"."""
    body: list[str] = []
    current = "%x"
    for step, move in enumerate(butterfly(arch, width)):
        lines, words = to_words(value, current, f"w{step}")
        body += lines
        for index, word in enumerate(words):
            body += _move(arch, move, word, f"m{step}.{index}")
        moved = [f"%m{step}.{index}" for index in range(len(words))]
        body += from_words(value, moved, f"o{step}")
        body.append(f"%x{step} = {_combine(value, combine, current, f'%o{step}')}")
        current = f"%x{step}"
    body.append(f"ret {value.llvm} {current}")
    return define(name, value.llvm, f"{value.llvm} %x", body, CONVERGENT)


def _combine(value: ValueType, combine: str, left: str, right: str) -> str:
    both = f"{value.llvm} {left}, {value.llvm} {right}"
    if combine == "add":
        return f"{'fadd' if value.kind == 'float' else 'add'} {value.llvm} {left}, {right}"
    greater = {"float": "maxnum", "int": "smax", "uint": "umax"}[value.kind]
    return f"call {value.llvm} @llvm.{greater}.{value.suffix}({both})"


def shuffle_xor(arch: Architecture, name: str, value: ValueType, mask: int | None) -> str:
    """Return a function that reads lane ^ mask; None means a mask known at run time only."""
    lines, words = to_words(value, "%x", "w")
    body = list(lines)
    if mask is None:
        body += [*lane_index(arch, "lane"), "%from = xor i32 %lane, %mask"]
    for index, word in enumerate(words):
        if mask is None:
            body += _permute(word, "%from", f"m{index}")
        else:
            body += _move(arch, exclusive_or(arch, mask), word, f"m{index}")
    body += from_words(value, [f"%m{index}" for index in range(len(words))], "result")
    body.append(f"ret {value.llvm} %result")
    return define(name, value.llvm, f"{value.llvm} %x, i32 %mask", body, CONVERGENT)


def shuffle(name: str, value: ValueType) -> str:
    """Return a function that reads any lane, given per lane."""
    lines, words = to_words(value, "%x", "w")
    body = list(lines)
    for index, word in enumerate(words):
        body += _permute(word, "%lane", f"m{index}")
    body += from_words(value, [f"%m{index}" for index in range(len(words))], "result")
    body.append(f"ret {value.llvm} %result")
    return define(name, value.llvm, f"{value.llvm} %x, i32 %lane", body, CONVERGENT)


def broadcast(name: str, value: ValueType) -> str:
    """Return a function that reads one lane, the same for all."""
    lines, words = to_words(value, "%x", "w")
    body = list(lines)
    for index, word in enumerate(words):
        read = f"call i32 @llvm.amdgcn.readlane.i32(i32 {word}, i32 %lane)"
        body.append(f"%m{index} = {read}")
    body += from_words(value, [f"%m{index}" for index in range(len(words))], "result")
    body.append(f"ret {value.llvm} %result")
    return define(name, value.llvm, f"{value.llvm} %x, i32 %lane", body, CONVERGENT)


def lane(arch: Architecture, name: str) -> str:
    """Return a function that gives the lane's number."""
    return define(name, "i32", "", [*lane_index(arch, "lane"), "ret i32 %lane"], CONVERGENT)


def subgroup_id(arch: Architecture, name: str, block: tuple[int, int, int]) -> str:
    """Return a function that gives the wave's number within a block of these extents."""
    width, height, _ = block
    body = ["%x = call i32 @llvm.amdgcn.workitem.id.x()"]
    thread = "%x"
    if block[1:] != (1, 1):
        body += [
            "%y = call i32 @llvm.amdgcn.workitem.id.y()",
            "%z = call i32 @llvm.amdgcn.workitem.id.z()",
            f"%plane = mul i32 %z, {height}",
            "%row = add i32 %plane, %y",
            f"%before = mul i32 %row, {width}",
            "%thread = add i32 %before, %x",
        ]
        thread = "%thread"
    body += [
        f"%wave = lshr i32 {thread}, {arch.wave.bit_length() - 1}",
        # One number for the whole wave, so that what depends on it lands in scalar registers.
        "%same = call i32 @llvm.amdgcn.readfirstlane.i32(i32 %wave)",
        "ret i32 %same",
    ]
    return define(name, "i32", "", body, CONVERGENT)


def barrier(name: str, scope: str) -> str:
    """Return a function that waits for the "workgroup" or keeps order within the "wavefront".

    TVM's generator emits the bare instruction. Since gfx90a and RDNA the hardware does not wait for
    the wave's own memory accesses at a barrier; the fences make LLVM insert those waits.
    """
    instruction = "s.barrier" if scope == "workgroup" else "wave.barrier"
    body = [
        f'fence syncscope("{scope}") release',
        f"call void @llvm.amdgcn.{instruction}()",
        f'fence syncscope("{scope}") acquire',
        "ret i32 0",
    ]
    return define(name, "i32", "", body, _SYNCHRONIZES)


def device_fence(name: str, order: str) -> str:
    """Return a function that releases this wave's writes to the device, or acquires others'."""
    return define(name, "i32", "", [f'fence syncscope("agent") {order}', "ret i32 0"], _FENCES)


def device_count(name: str) -> str:
    """Return a function that adds to a counter and says what it was; it releases and acquires."""
    body = [
        "%before = atomicrmw add ptr addrspace(1) %counter, i32 %value"
        ' syncscope("agent") acq_rel, align 4',
        "ret i32 %before",
    ]
    return define(name, "i32", "ptr addrspace(1) %counter, i32 %value", body, _FENCES)
