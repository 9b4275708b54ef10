from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tvm
import tvm_ffi

from ferrylm.compile.cuda import toolkit
from ferrylm.compile.cuda.architectures import DEFAULT_ARCHITECTURES, parse_architectures
from ferrylm.compile.cuda.bodies import body_name
from ferrylm.compile.cuda.library import cuda_target, export_cuda_library
from ferrylm.compile.cuda.resources import (
    entry_bytes,
    find_fat_binary,
    kernel_resources,
    list_entries,
)
from ferrylm.compile.gpu_pipeline import PIPELINE
from ferrylm.errors import ArtifactError, CompileError
from tests.compile.cuda.cuda_builds import build_kernels, build_library
from tests.compile.cuda.memory_cases import dependent_copy
from tests.compile.cuda.operation_cases import OperationCase, call
from tests.compile.cuda.operation_table import OPERATION_CASES

CASES = {case.name: case for case in OPERATION_CASES}


def kernel(name: str, case: str) -> Any:
    return CASES[case].kernel().with_attr("global_symbol", name)


@pytest.fixture(scope="module")
def everywhere() -> bytes:
    """Return a library with two kernels for the whole default list."""
    library, _ = build_library([kernel("dot", "dot4_i8"), dependent_copy("copy")],
                               *DEFAULT_ARCHITECTURES)  # fmt: skip
    return library


def test_every_kernel_has_machine_code_for_every_architecture_of_the_list(
    everywhere: bytes,
) -> None:
    fat_binary = find_fat_binary(everywhere)
    machine_code = {f"sm_{name}" for name in DEFAULT_ARCHITECTURES if name[0].isdecimal()}
    assert set(list_entries(fat_binary)) == machine_code | {"compute_75", "compute_90"}
    found = {(one.kernel, one.architecture) for one in kernel_resources(fat_binary)}
    assert found == {(k, arch) for k in ("copy_kernel", "dot_kernel") for arch in machine_code}


def test_the_sizes_of_all_entries_are_those_of_what_was_compiled() -> None:
    _, built = build_library([kernel("dot", "dot4_i8")], "75", "90a", "compute_80")
    compiled = {arch.name: size for arch, size in built.size_bytes.items()}
    found = entry_bytes(built.code)
    assert set(found) == {"sm_75", "sm_90a", "compute_80"}
    for name in ("sm_75", "sm_90a"):
        assert found[name] == compiled[name]
    # cuobjdump leaves out the comments at the head of PTX.
    assert compiled["compute_80"] // 2 < found["compute_80"] <= compiled["compute_80"]


def test_a_library_holds_no_source(everywhere: bytes) -> None:
    for text in (b"__global__", b"__device__", b"#include", b"(int)threadIdx", b"ferrylm_cuda"):
        assert text not in everywhere
    assert b"fatbin" in everywhere


def test_two_kernels_on_all_architectures_take_little_room(everywhere: bytes) -> None:
    assert len(everywhere) < 64 << 10


def test_equal_kernels_give_equal_bytes() -> None:
    functions = [kernel("dot", "dot4_i8"), dependent_copy("copy"), kernel("fma", "fma_float32")]
    first, _ = build_library(functions, "86", "compute_80")
    second, _ = build_library(functions[::-1], "compute_80", "86")
    assert first == second


def test_an_architecture_gets_the_body_made_for_it() -> None:
    other = kernel(body_name("work", "90a"), "dot4_u8_i8")
    _, built = build_library([kernel("work", "dot4_i8"), other], "86", "90a")
    words = {one.architecture: one for one in kernel_resources(built.code)}
    assert built.kernels == ("work_kernel",)
    assert set(words) == {"sm_86", "sm_90a"}
    text = {name: disassembled(built.code, name) for name in words}
    assert "IDP.4A.S8.S8" in text["sm_86"]
    assert "IDP.4A.U8.S8" in text["sm_90a"]
    assert "IDP.4A.S8.S8" not in text["sm_90a"]


def test_a_body_for_no_kernel_is_refused() -> None:
    with pytest.raises(CompileError, match="which does not exist"):
        build_kernels([kernel("work", "dot4_i8"), kernel(body_name("wrok", "90a"), "dot4_u8_i8")])


def test_a_body_with_other_arguments_is_refused() -> None:
    with pytest.raises(CompileError, match="launched differently"):
        build_kernels([kernel("work", "dot4_i8"), kernel(body_name("work", "90a"), "fma_float32")])


def test_a_body_that_is_launched_otherwise_is_refused() -> None:
    waiting = dependent_copy(body_name("copy", "90a"), wait=True)
    with pytest.raises(CompileError, match="launched differently"):
        build_kernels([dependent_copy("copy"), waiting])


def test_early_kernels_get_no_ptx_that_cannot_wait() -> None:
    """Compiled by the driver for a newer chip, it would start early and read unfinished results."""
    with pytest.raises(CompileError, match=r"compute_80.*copy_kernel.*give --cuda-arch compute_90"):
        build_library([dependent_copy("copy", wait=True)], "90a", "compute_80")
    library, _ = build_library([dependent_copy("copy", wait=True)], "90a", "compute_90")
    assert list_entries(find_fat_binary(library)) == ("sm_90a", "compute_90")


def test_the_compiler_names_the_architecture_and_the_fault() -> None:
    broken = OperationCase(
        "broken", (), ("uint32", 1), lambda a, b, c: call("lop3", "uint32", a, b, c, 0xEA, 1),
        lambda a, b, c: a,
    )  # fmt: skip
    with pytest.raises(CompileError, match=r"NVRTC failed for sm_80: .*error"):
        build_library([broken.kernel()], "80")


def test_an_architecture_that_nvrtc_does_not_know_is_named() -> None:
    with pytest.raises(CompileError, match="sm_999"):
        build_library([dependent_copy("copy")], "999")


def test_a_module_that_was_built_elsewhere_is_refused() -> None:
    """TVM's own build embeds source, which would be compiled when it is loaded."""
    module = tvm.IRModule({"copy": dependent_copy("copy")})
    executable = tvm.compile(module, target=cuda_target(), tir_pipeline=PIPELINE)
    with pytest.raises(CompileError, match="not built ahead of time"):
        export_cuda_library(executable, parse_architectures(["80"]))


def test_tvm_builds_as_before_afterwards() -> None:
    original = tvm_ffi.get_global_func("target.build.cuda")
    build_kernels([dependent_copy("copy")])
    module = tvm.IRModule({"copy": dependent_copy("copy")})
    executable = tvm.compile(module, target=cuda_target(), tir_pipeline=PIPELINE)
    (device,) = executable.mod.imports
    assert "__global__" in str(device.inspect_source("cuda"))
    assert "ferrylm_cuda_sources" not in str(device.inspect_source("cuda"))
    assert original is not None
    assert tvm_ffi.get_global_func("tvm_callback_cuda_postproc", allow_missing=True) is None


def test_without_the_packages_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolkit, "_roots", list)
    with pytest.raises(CompileError, match=r"install ferrylm\[cuda\]"):
        build_library([dependent_copy("copy")], "80")


def test_with_half_of_the_packages_the_error_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(toolkit, "_roots", lambda: [tmp_path])
    with pytest.raises(CompileError, match=r"libnvrtc\.so\.13"):
        toolkit.find_toolkit()


def test_a_compiler_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CompileError, match="exit status 1"):
        build_library([dependent_copy("copy")], "80")


def test_a_library_without_device_code_is_named() -> None:
    with pytest.raises(ArtifactError, match="without a CUDA fat binary"):
        find_fat_binary(b"\x7fELF" + bytes(100))


def disassembled(fat_binary: bytes, architecture: str) -> str:
    """Return the machine code of one architecture as text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.fatbin"
        path.write_bytes(fat_binary)
        command = [toolkit.find_program("cuobjdump"), "-sass", "-arch", architecture, path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
