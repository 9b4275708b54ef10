"""What is said of the code in a library, chip by chip, and what is found wrong with it."""

from __future__ import annotations

import struct

import pytest
from rocm_kernels import BuiltKernels

from ferrylm.compile.chip_code import chip_code
from ferrylm.compile.rocm.architectures import DEFAULT_NAMES
from ferrylm.compile.rocm.bundle import write_bundle
from ferrylm.compile.rocm.disassembly import find_disassembler


def library_of(everything: BuiltKernels, *chips: str, **changed: bytes) -> bytes:
    """Return bytes such as a library has, with the code of these chips; `changed` takes a place."""
    code = {name: everything.code_objects[name].code for name in chips}
    return b"\x7fELF and more" + write_bundle({**code, **changed})


def test_every_chip_of_the_default_list_is_shown_and_well(everything: BuiltKernels) -> None:
    found = chip_code("rocm", library_of(everything, *DEFAULT_NAMES))
    assert [one.architecture for one in found] == list(DEFAULT_NAMES)
    for one in found:
        assert one.problems == ()
        assert (one.kernels, one.lds_bytes, one.argument_bytes) == (3, 1024, 24)
        assert one.wave == (64 if one.architecture.startswith("gfx9") else 32)
        assert one.size_bytes == len(everything.code_objects[one.architecture].code)


def test_the_code_of_another_chip_is_a_wrong_header(everything: BuiltKernels) -> None:
    other = everything.code_objects["gfx1100"].code
    (one,) = chip_code("rocm", library_of(everything, gfx1200=other), listing=False)
    assert any("the processor" in problem for problem in one.problems)


@pytest.mark.skipif(find_disassembler() is None, reason="no llvm-objdump of LLVM 19 or newer")
def test_bytes_that_are_no_instructions_are_found(everything: BuiltKernels) -> None:
    code = everything.code_objects["gfx1100"].code
    at = code.rindex(struct.pack("<I", 0xBFB00000))  # s_endpgm, RDNA 3 ISA, SOPP opcode 48
    broken = code[:at] + b"\xff\xff\xff\xff" + code[at + 4 :]
    (one,) = chip_code("rocm", library_of(everything, gfx1100=broken))
    assert one.problems != ()


def test_other_kinds_have_no_code_of_chips() -> None:
    assert chip_code("vulkan", b"") == chip_code("cpu", b"") == []
