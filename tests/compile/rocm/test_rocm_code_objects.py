"""Machine code for every AMD architecture, judged by what the code objects say of themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rocm_kernels import BuiltKernels

from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm.disassembly import disassemble, find_disassembler
from ferrylm.compile.rocm.elf import CodeObjectFile
from ferrylm.compile.rocm.kernel_resources import (
    KernelResources,
    code_object_resources,
    defects,
    kernel_resources,
    spills,
    wrong_header,
)

# pointers of 8 bytes; mathematics has a float behind two of them
ARGUMENT_BYTES = {"soft_row_kernel": 24, "dots_kernel": 24, "mathematics_kernel": 20}
BLOCK_THREADS = {"soft_row_kernel": 256, "dots_kernel": 128, "mathematics_kernel": 128}
LDS_BYTES = {"soft_row_kernel": 1024, "dots_kernel": 0, "mathematics_kernel": 0}

DISASSEMBLER = find_disassembler()
# Names that llvm-objdump 19 does not know yet; their code is that of a chip it knows.
NEWER = {"gfx950": "gfx942", "gfx1152": "gfx1151"}


@pytest.fixture(scope="module")
def kernels(everything: BuiltKernels) -> Mapping[str, list[KernelResources]]:
    return {
        name: code_object_resources(name, built.code)
        for name, built in everything.code_objects.items()
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_header_names_the_architecture_and_the_version_that_its_loaders_read(
    everything: BuiltKernels, name: str
) -> None:
    code = everything.code_objects[name].code
    assert wrong_header(code, ARCHITECTURES[name]) == []
    assert CodeObjectFile(code).code_object_version == (6 if "generic" in name else 5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_kernels_have_the_right_waves_no_spills_and_the_launchers_arguments(
    kernels: Mapping[str, list[KernelResources]], name: str
) -> None:
    found = {kernel.name: kernel for kernel in kernels[name]}
    assert set(found) == set(ARGUMENT_BYTES)
    for kernel in found.values():
        assert defects(kernel) == spills(kernel) == []
        assert kernel.wave == (64 if name.startswith("gfx9") else 32)
        assert kernel.argument_bytes == ARGUMENT_BYTES[kernel.name]
        assert kernel.block_threads == BLOCK_THREADS[kernel.name]
        assert kernel.lds_bytes == LDS_BYTES[kernel.name]
        assert 0 < kernel.vector_registers <= 64
        assert 0 < kernel.scalar_registers <= 40
        assert kernel.code_bytes > 100


def test_nothing_but_the_kernels_is_exported(everything: BuiltKernels) -> None:
    for built in everything.code_objects.values():
        names = {symbol.name for symbol in CodeObjectFile(built.code).symbols()}
        assert names == {name + end for name in ARGUMENT_BYTES for end in ("", ".kd")}


def test_no_function_is_called_and_no_device_library_is_named(everything: BuiltKernels) -> None:
    for name, built in everything.code_objects.items():
        assert "__ocml" not in built.assembly
        assert "__ockl" not in built.assembly
        assert not re.search(r"^\s+s_swappc_b64", built.assembly, re.MULTILINE), name


def test_the_resources_of_a_bundle_are_those_of_its_code_objects(
    everything: BuiltKernels, kernels: Mapping[str, list[KernelResources]]
) -> None:
    assert kernel_resources(everything.bundle) == [
        kernel for name in everything.code_objects for kernel in kernels[name]
    ]


def test_what_a_chip_cannot_run_is_told_apart_from_what_is_slow(
    kernels: Mapping[str, list[KernelResources]],
) -> None:
    kernel = kernels["gfx90a"][0]
    assert defects(replace(kernel, wave=32)) == ["waves of 32 instead of 64"]
    assert defects(replace(kernel, lds_bytes=65537)) == ["65537 bytes of LDS, more than 65536"]
    assert defects(replace(kernel, vector_registers=513)) == ["513 vector registers"]
    slow = replace(kernel, vector_spills=3, private_bytes=16)
    assert defects(slow) == []
    assert spills(slow) == ["3 + 0 spilled registers", "16 bytes of private memory per lane"]
    slow = replace(kernel, scalar_spills=2, private_bytes=16)
    assert spills(slow) == ["0 + 2 spilled registers", "16 bytes of private memory per lane"]
    assert spills(replace(kernel, scalar_spills=2)) == []


@pytest.fixture(scope="module")
def listings(everything: BuiltKernels) -> Mapping[str, Mapping[str, list[str]]]:
    if DISASSEMBLER is None:
        assert not os.environ.get("CI"), "llvm-19 is installed there"
        pytest.skip("no llvm-objdump of LLVM 19 or newer")
    return {
        name: disassemble(built.code, ARCHITECTURES[NEWER.get(name, name)], DISASSEMBLER)
        for name, built in everything.code_objects.items()
    }


def test_every_byte_of_every_kernel_is_an_instruction_of_its_chip(
    listings: Mapping[str, Mapping[str, list[str]]],
) -> None:
    for name, functions in listings.items():
        assert set(functions) == set(ARGUMENT_BYTES), name
        for instructions in functions.values():
            assert instructions[-1] == "s_endpgm"
            assert len(instructions) > 15


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dot_products_are_the_instructions_that_the_chip_has(
    listings: Mapping[str, Mapping[str, list[str]]], name: str
) -> None:
    code = [line.split()[0] for line in listings[name]["dots_kernel"]]
    dots = [operation for operation in code if "dot4" in operation]
    kind = ARCHITECTURES[name].dot
    wanted = {"mixed": (2, "v_dot4_i32_iu8"), "signed": (3, "v_dot4"), "none": (0, "")}[kind]
    assert len(dots) == wanted[0]
    assert all(operation.startswith(wanted[1]) for operation in dots)
    assert code.count("v_mul_i32_i24_sdwa") == (8 if kind == "none" else 0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sums_over_a_wave_move_between_lanes_without_memory(
    listings: Mapping[str, Mapping[str, list[str]]], name: str
) -> None:
    code = listings[name]["soft_row_kernel"]
    added = [line for line in code if line.startswith("v_add_f32_dpp") or "_add_f32" in line]
    in_rows = [line for line in added if "quad_perm" in line or "row_" in line]
    assert len(in_rows) == 4, code
    rdna = ARCHITECTURES[name].lanes == "rdna"
    assert any(line.startswith("v_permlanex16") for line in code) == rdna
    assert any(line.startswith("ds_bpermute") for line in code) != rdna


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_barrier_waits_for_the_waves_own_writes_to_lds(
    listings: Mapping[str, Mapping[str, list[str]]], name: str
) -> None:
    code = listings[name]["soft_row_kernel"]
    written = next(i for i, line in enumerate(code) if re.match(r"ds_(write|store)_b32", line))
    barrier = next(i for i, line in enumerate(code) if line.startswith("s_barrier"))
    waits = [line for line in code[written:barrier] if "lgkmcnt(0)" in line or "dscnt 0x0" in line]
    assert waits, code[written : barrier + 1]
