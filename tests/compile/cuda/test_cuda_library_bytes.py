from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrylm.compile.cuda.elf_object import object_with_bytes
from ferrylm.compile.cuda.library_bytes import (
    StoredCuda,
    StoredFunction,
    StoredImports,
    StoredModule,
    read_cuda,
    read_imports,
    write_cuda,
    write_imports,
)
from ferrylm.compile.link import link_shared
from ferrylm.errors import CompileError

names = st.text(min_size=1, max_size=8)
functions = st.builds(
    StoredFunction,
    name=names,
    argument_types=st.lists(st.binary(min_size=4, max_size=4), max_size=3).map(tuple),
    launch_tags=st.lists(names, max_size=3).map(tuple),
    extra_tags=st.lists(st.integers(0, 1), max_size=3).map(tuple),
)
cuda_modules = st.builds(
    StoredCuda,
    format=names,
    functions=st.lists(functions, max_size=3).map(tuple),
    code=st.binary(max_size=30),
)


@given(cuda_modules)
def test_a_cuda_module_is_read_as_it_was_written(module: StoredCuda) -> None:
    assert read_cuda(write_cuda(module)) == module


@given(cuda_modules, st.data())
def test_a_cuda_module_cut_short_is_an_error(module: StoredCuda, data: st.DataObject) -> None:
    content = write_cuda(module)
    kept = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(CompileError, match="wanted modules as TVM"):
        read_cuda(content[:kept])


def test_imports_are_read_as_they_were_written() -> None:
    modules = (StoredModule("relax.VMExecutable", b"abc"), StoredModule("_lib", None))
    imports = StoredImports((0, 1, 1), (1,), modules)
    assert read_imports(write_imports(imports)) == imports


@pytest.mark.parametrize("change", [lambda b: b + b"\0", lambda b: b[:-1], lambda b: b[:12]])
def test_imports_of_another_length_are_an_error(change: object) -> None:
    content = write_imports(StoredImports((0, 0), (), (StoredModule("cuda", b"x"),)))
    with pytest.raises(CompileError):
        read_imports(change(content))  # type: ignore[operator]


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 40])
def test_bytes_become_a_symbol_of_a_library(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bytes.o").write_bytes(object_with_bytes("carried", content, "x86_64"))
    link_shared(tmp_path / "bytes.so", [tmp_path / "bytes.o"], "x86_64")
    library = ctypes.CDLL(str(tmp_path / "bytes.so"))
    carried = (ctypes.c_char * len(content)).in_dll(library, "carried")
    assert bytes(carried) == content
    assert ctypes.addressof(carried) % 16 == 0


def test_an_object_for_another_machine_links_for_that_machine(tmp_path: Path) -> None:
    (tmp_path / "bytes.o").write_bytes(object_with_bytes("carried", b"abc", "aarch64"))
    link_shared(tmp_path / "bytes.so", [tmp_path / "bytes.o"], "aarch64")
    assert (tmp_path / "bytes.so").read_bytes()[18] == 183  # e_machine, EM_AARCH64
