"""Libraries: what they are made of and what they ask of the process that loads them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ferrylm.compile.cpu_library import build_cpu_library
from ferrylm.compile.library import BuiltLibrary, ModelPlan
from ferrylm.compile.link import link_shared
from ferrylm.errors import CompileError
from ferrylm.relax_models.decoder import canonical_weights
from ferrylm.runtime.manifest import ModelConfig, RopeConfig
from ferrylm.schedules.cpu.kernels import MatrixStorage
from ferrylm.schedules.cpu.profile import PROFILES

CONFIG = ModelConfig(
    "llama", 64, 96, 1, 4, 2, 16, 80, 64, 1e-5, True, RopeConfig("default", 10000.0)
)
EM_X86_64, EM_AARCH64 = 62, 183
SHT_DYNSYM, SHN_UNDEF = 11, 0
FROM_THE_C_LIBRARY = {"memcpy", "memmove", "memset"}
FROM_TVM = ("TVMFFI", "__TVM", "TVMBackend")


@pytest.fixture(scope="module")
def libraries() -> dict[str, BuiltLibrary]:
    storage = {
        weight.name: MatrixStorage(weight.rows, weight.columns, "q4", weight.name != "embedding")
        for weight in canonical_weights(CONFIG)
        if weight.columns is not None
    }
    plan = ModelPlan(CONFIG, storage, "int16", "float16", (1,))
    return {
        name: build_cpu_library(plan, PROFILES[name]) for name in ("x86-64-v3", "aarch64-dotprod")
    }


class Elf:
    """As much of a 64-bit little-endian ELF file as the tests ask for."""

    def __init__(self, data: bytes) -> None:
        assert data[:6] == b"\x7fELF\x02\x01"
        self.data = data
        self.kind, self.machine = struct.unpack_from("<HH", data, 16)
        offset = struct.unpack_from("<Q", data, 40)[0]
        size, count, names = struct.unpack_from("<HHH", data, 58)
        headers = [struct.unpack_from("<IIQQQQII", data, offset + size * i) for i in range(count)]
        self.sections = {
            self._text(headers[names][4] + header[0]): (header[1], header[4], header[5], header[6])
            for header in headers
        }
        self.headers = headers

    def _text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode()

    def symbols(self) -> tuple[set[str], set[str]]:
        """Return the names that are imported and those that are defined."""
        imported, defined = set(), set()
        for kind, offset, size, link in self.sections.values():
            if kind != SHT_DYNSYM:
                continue
            strings = self.headers[link][4]
            for at in range(offset + 24, offset + size, 24):
                name, _, _, section = struct.unpack_from("<IBBH", self.data, at)
                (imported if section == SHN_UNDEF else defined).add(self._text(strings + name))
        return imported, defined

    def needed(self) -> int:
        """Count the shared libraries that this one asks for."""
        _, offset, size, _ = self.sections[".dynamic"]
        tags = [
            struct.unpack_from("<qQ", self.data, at)[0] for at in range(offset, offset + size, 16)
        ]
        return tags.count(1)


@pytest.mark.parametrize(
    ("profile", "machine"), [("x86-64-v3", EM_X86_64), ("aarch64-dotprod", EM_AARCH64)]
)
def test_a_library_asks_for_nothing_but_tvm_and_the_memory_functions(
    libraries: dict[str, BuiltLibrary], profile: str, machine: int
) -> None:
    elf = Elf(libraries[profile].code)
    assert (elf.kind, elf.machine) == (3, machine)
    assert elf.needed() == 0
    imported, defined = elf.symbols()
    foreign = {name for name in imported - FROM_THE_C_LIBRARY if not name.startswith(FROM_TVM)}
    assert foreign == set()
    assert any(name.startswith("__tvm_ffi_") for name in defined)


def test_a_library_keeps_no_symbol_table_and_an_executable_stack_in_none(
    libraries: dict[str, BuiltLibrary],
) -> None:
    for built in libraries.values():
        elf = Elf(built.code)
        assert ".symtab" not in elf.sections
        assert not {name for name in elf.sections if name.startswith(".debug")}
        offset, size, count = (
            struct.unpack_from("<Q", built.code, 32)[0],
            *struct.unpack_from("<HH", built.code, 54),
        )
        flags = {
            kind: flag
            for kind, flag in (
                struct.unpack_from("<II", built.code, offset + size * i) for i in range(count)
            )
        }
        assert flags[0x6474E551] & 1 == 0, "PT_GNU_STACK is not executable"


def test_no_path_of_this_machine_is_in_a_library(libraries: dict[str, BuiltLibrary]) -> None:
    for built in libraries.values():
        for part in (str(Path.cwd()), str(Path.home()), "/tmp/", "ferrylm-"):
            assert part.encode() not in built.code


def test_objects_that_cannot_be_linked_are_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(b"no object")
    with pytest.raises(CompileError, match="the linker failed"):
        link_shared(tmp_path / "a.so", [tmp_path / "a.o"], "x86_64")
    with pytest.raises(CompileError, match="the linker failed"):
        link_shared(tmp_path / "a.so", [tmp_path / "missing.o"], "x86_64")


def test_a_linker_that_cannot_be_started_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    with pytest.raises(CompileError, match="the linker failed"):
        link_shared(tmp_path / "a.so", [], "x86_64")


def test_a_parameter_names_its_sources_and_how_it_is_packed(
    libraries: dict[str, BuiltLibrary],
) -> None:
    found: dict[str, Any] = {p.name: p for p in libraries["x86-64-v3"].entry.parameters}
    assert found["final_norm"].transform is None
    assert found["layers.0.qkv.codes"].transform == "pack_q4_int"
    assert found["layers.0.gate_up.minimum"].transform == "pack_group_pairs"
    assert all(p.sources == (p.name,) for p in found.values())
    # The same layout for every processor, so that a later one needs no other weights.
    assert libraries["x86-64-v3"].entry.parameters == libraries["aarch64-dotprod"].entry.parameters
