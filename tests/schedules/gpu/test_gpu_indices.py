from __future__ import annotations

import struct

import pytest
import tvm

from ferrylm.compile.isa.container import find_kernels
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention import prefill_attention
from ferrylm.schedules.gpu.attention_plan import AttentionPlan, queries_that_fit
from ferrylm.schedules.gpu.tiles import ROW_TILE, attention_tile
from tests.schedules.gpu.vulkan_runner import DOT, build

# SPIR-V specification, 3.52: OpTypeInt; OpUDiv, OpSDiv, OpUMod, OpSRem, OpSMod.
TYPE_INT, DIVISIONS = 21, {134, 135, 137, 138, 139}


def division_widths(code: bytes) -> set[int]:
    """Return the widths of the integers that a SPIR-V module divides."""
    words = struct.unpack(f"<{len(code) // 4}I", code)
    widths: dict[int, int] = {}
    found, place = set(), 5
    while place < len(words):
        length, operation = words[place] >> 16, words[place] & 0xFFFF
        if operation == TYPE_INT:
            widths[words[place + 1]] = words[place + 2]
        elif operation in DIVISIONS:
            found.add(widths[words[place + 1]])
        place += length
    return found


@pytest.mark.parametrize("heads", [14, 6, 10])
def test_prefill_attention_divides_no_64_bit_integers(heads: int) -> None:
    shape = AttentionShape(heads, 2, 64, "float16")
    tile = attention_tile(DOT, 64)
    plan = AttentionPlan(shape, tile, DOT.subgroup, queries_that_fit(shape, tile, ROW_TILE))
    built = build({"kernel": prefill_attention(Rows(ROW_TILE), plan)})
    packed = tvm.get_global_func("runtime.ModulePackImportsToTensor")(built.mod)
    kernels = find_kernels(packed.numpy().tobytes(), "the built module")
    assert len(kernels) == 1
    # A driver of NVIDIA's gets such divisions wrong: schedules/gpu/row_counts.py.
    assert division_widths(kernels[0].spirv) == {32}
