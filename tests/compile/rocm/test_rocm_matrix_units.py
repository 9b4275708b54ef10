"""The code of products on AMD's matrix units; what they compute is in test_gpu_cooperative_amd."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rocm_kernels
import tvm

from ferrylm.compile.rocm.architectures import ARCHITECTURES, DEFAULT_NAMES, Architecture
from ferrylm.compile.rocm.code_object import CodeObject, kernel_text
from ferrylm.compile.rocm.disassembly import disassemble, find_disassembler
from ferrylm.compile.rocm.kernel_resources import code_object_resources, defects, spills
from ferrylm.compile.rocm_tiers import TIERS, chips_of
from ferrylm.errors import CompileError
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.cooperative_tiles import TILE_ROCM, cooperative_tile
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matmul_cooperative import cooperative_matmul
from ferrylm.schedules.gpu.matvec_grid import Product

BUDGETS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "budgets" / "amd_matrix.json").read_text()
)["chips"]
# Llama 3 8B's gate and up, output and down.
PRODUCTS = {
    "q4": (WeightFormat(28672, 4096, "q4", False, "int16"), "swiglu"),
    "q4m": (WeightFormat(4096, 4096, "q4", True, "int16"), "residual"),
    "q8": (WeightFormat(4096, 14336, "q8", False, "int16"), "residual"),
}
INSTRUCTIONS = {
    "wmma": "v_wmma_f32_16x16x16_f16",
    "wmma12": "v_wmma_f32_16x16x16_f16",
    "mfma": "v_mfma_f32_16x16x16_?f16",
}
MULTIPLYING = tuple(name for name in DEFAULT_NAMES if ARCHITECTURES[name].matrix != "none")
# Vector registers of a SIMD's lane, how many of them are given out at once, SIMDs that share an
# LDS in the mode that is asked for: LLVM, "User Guide for AMDGPU Backend"; AMD's ISA documents.
SIMDS = {"gfx1100": (1536, 24, 2), "gfx90a": (512, 8, 4)}
LDS_BYTES = 64 << 10


def products(tier: str) -> Any:
    """Return the kernels of a tier."""
    profile = TIERS[tier].profile
    assert profile.cooperative is not None
    found = {}
    for name, (fmt, epilogue) in PRODUCTS.items():
        product = Product(Rows(8), fmt, epilogue)
        tile = cooperative_tile(profile, product)
        kernel = cooperative_matmul(product, tile, profile.subgroup, profile.cooperative)
        found[name] = kernel.with_attr("global_symbol", name)
    return tvm.IRModule(found)


@pytest.fixture(scope="module")
def built() -> Mapping[str, CodeObject]:
    """Return the code of every chip that has matrix units."""
    found: dict[str, CodeObject] = {}
    for tier in ("wave32-matrix", "wave64-matrix"):
        found |= rocm_kernels.build(products(tier), chips_of(tier)).code_objects
    assert set(found) == set(MULTIPLYING)
    return found


def loop_of(assembly: str, kernel: str) -> list[str]:
    """Return the instructions of the loop that multiplies."""
    lines = assembly.split(f"\n{kernel}_kernel:")[1].split("s_endpgm")[0].splitlines()
    code = [line.split(";")[0].strip() for line in lines]
    first = next(i for i, line in enumerate(code) if line.startswith(("v_wmma", "v_mfma")))
    start = max(i for i in range(first) if re.match(r"\.LBB\d+_\d+:", code[i]))
    label = code[start].rstrip(":")
    end = next(i for i in range(first, len(code)) if re.match(rf"s_cbranch\S+ {label}$", code[i]))
    return [line for line in code[start + 1 : end + 1] if line and not line.startswith(".")]


@pytest.mark.parametrize("name", MULTIPLYING)
def test_products_use_the_matrix_unit_and_keep_no_register_in_memory(
    built: Mapping[str, CodeObject], name: str
) -> None:
    arch = ARCHITECTURES[name]
    kernels = code_object_resources(name, built[name].code)
    assert len(kernels) == len(PRODUCTS)
    for kernel in kernels:
        assert [*defects(kernel), *spills(kernel)] == [], kernel.name
    for kind in PRODUCTS:
        loop = loop_of(built[name].assembly, kind)
        # 4 x 4 tiles of two instructions: a stage is 32 columns, an instruction 16.
        multiplied = [line for line in loop if re.match(INSTRUCTIONS[arch.matrix], line)]
        assert len(multiplied) == 32, kind
        # Halves are decoded in pairs.
        assert sum(line.startswith("v_pk_") for line in loop) >= 16, kind


@pytest.mark.skipif(find_disassembler() is None, reason="no llvm-objdump of LLVM 19 or newer")
@pytest.mark.parametrize("name", MULTIPLYING)
def test_every_byte_is_an_instruction_of_the_chip(
    built: Mapping[str, CodeObject], name: str
) -> None:
    disassembler = find_disassembler()
    assert disassembler is not None
    arch = ARCHITECTURES[name]
    for kernel, code in disassemble(built[name].code, arch, disassembler).items():
        assert any(re.match(INSTRUCTIONS[arch.matrix], line) for line in code), kernel


@pytest.mark.parametrize("name", MULTIPLYING)
def test_what_is_loaded_for_the_next_stage_is_waited_for_after_the_products(
    built: Mapping[str, CodeObject], name: str
) -> None:
    for kind in PRODUCTS:
        loop = loop_of(built[name].assembly, kind)
        products = [i for i, line in enumerate(loop) if re.match("v_(wmma|mfma)", line)]
        loads = [i for i, line in enumerate(loop) if line.startswith("global_load")]
        assert loads, kind
        assert max(loads) < products[0], kind
        waits = [
            line for line in loop[max(loads) : products[-1]] if re.search("vmcnt|loadcnt", line)
        ]
        assert waits == [], kind


def weights_of_a_lane(name: str) -> int:
    """Return how many weights a lane decodes in a turn of the loop."""
    arch = ARCHITECTURES[name]
    subgroups = TILE_ROCM.row_subgroups * TILE_ROCM.output_subgroups
    rows = TILE_ROCM.output_subgroups * TILE_ROCM.output_tiles * 16
    return rows * TILE_ROCM.columns // (subgroups * arch.wave)


@pytest.mark.parametrize("name", BUDGETS)
def test_products_keep_their_budgets(built: Mapping[str, CodeObject], name: str) -> None:
    budget, (registers, granule, simds) = BUDGETS[name], SIMDS[name]
    for kernel in code_object_resources(name, built[name].code):
        assert kernel.vector_registers <= budget["max_vector_registers"], kernel.name
        assert kernel.lds_bytes <= budget["max_lds_bytes"], kernel.name
        taken = -(-kernel.vector_registers // granule) * granule
        waves = kernel.block_threads // kernel.wave * (LDS_BYTES // kernel.lds_bytes) // simds
        assert min(waves, registers // taken) >= budget["min_waves"], kernel.name
    for kind, most in budget["max_vector_instructions_per_weight"].items():
        loop = loop_of(built[name].assembly, kind)
        other = [line for line in loop if re.match("v_(?!wmma|mfma)", line)]
        assert len(other) / weights_of_a_lane(name) <= most, kind


def test_every_chip_belongs_to_one_tier_and_multiplies_on_the_units_it_has() -> None:
    tiers = {tier: {chip.name for chip in chips_of(tier)} for tier in TIERS}
    names = [name for found in tiers.values() for name in found]
    assert sorted(names) == sorted(DEFAULT_NAMES)
    assert tiers["wave32-matrix"] | tiers["wave64-matrix"] == set(MULTIPLYING)
    assert {name for name in MULTIPLYING if ARCHITECTURES[name].wave == 64} == {
        *("gfx908", "gfx90a", "gfx942", "gfx9-4-generic")
    }


def refused(arch: Architecture, tier: str) -> str:
    """Return why a chip has no code of a tier's products."""
    module = rocm_kernels.lowered(products(tier), arch)
    with pytest.raises(CompileError) as caught:
        kernel_text(module, arch)
    return str(caught.value)


def test_a_chip_without_matrix_units_is_told() -> None:
    assert "matrix units" in refused(ARCHITECTURES["gfx1030"], "wave32-matrix")


def test_tiles_of_another_chips_shape_are_refused() -> None:
    assert "16 x 32 matrix of float16" in refused(ARCHITECTURES["gfx1100"], "wave64-matrix")
