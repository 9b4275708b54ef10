"""Builds through TVM: libraries, equal bytes, kernels of two wave sizes, and errors."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import tvm
import tvm_ffi
from rocm_kernels import build, everything_module, increment_module, lowered
from tvm.script import ir as I
from tvm.script import tirx as T

from ferrylm.compile.gpu_pipeline import PIPELINE
from ferrylm.compile.rocm.architectures import ARCHITECTURES, architectures
from ferrylm.compile.rocm.build_hook import ahead_of_time, collecting, require_equal_launches
from ferrylm.compile.rocm.code_object import kernel_text, rocm_target
from ferrylm.compile.rocm.code_objects import build_code_objects
from ferrylm.errors import CompileError

PAIR = architectures(["gfx90a", "gfx10-3-generic"])

_REPEAT = """
import hashlib, sys
sys.path.insert(0, {support!r})
from rocm_kernels import build, everything_module
from ferrylm.compile.rocm.architectures import architectures
from pathlib import Path
built = build(everything_module(), architectures(["gfx90a", "gfx10-3-generic"]))
built.export(Path({path!r}))
"""


def test_equal_inputs_give_equal_libraries_in_any_process(tmp_path: Path) -> None:
    digests = set()
    for seed in ("1", "2"):
        path = tmp_path / f"library-{seed}.so"
        code = _REPEAT.format(support=str(Path(__file__).parents[2] / "support"), path=str(path))
        environment = {"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
        bundle = path.read_bytes()
        digests.add(hashlib.sha256(bundle[bundle.index(b"hsaco") :].rstrip(b"\0")).hexdigest())
    assert len(digests) == 1


def test_one_worker_and_two_give_the_same_code() -> None:
    kernels = lowered(increment_module(), PAIR[0])
    texts = {arch: kernel_text(kernels, arch) for arch in PAIR}
    assert build_code_objects(texts, workers=1) == build_code_objects(texts, workers=2)


def test_the_library_carries_the_bundle_and_tvms_own_build_is_back_afterwards(
    tmp_path: Path,
) -> None:
    before = tvm_ffi.get_global_func("target.build.rocm")
    built = build(increment_module(), PAIR)
    built.export(tmp_path / "library.so")
    assert built.bundle in (tmp_path / "library.so").read_bytes()
    assert list(built.code_objects) == ["gfx90a", "gfx10-3-generic"]
    assert tvm_ffi.get_global_func("target.build.rocm").same_as(before)


def test_kernels_of_another_wave_size_go_into_the_same_bundle() -> None:
    three, five = "0x40400000", "0x40a00000"  # as float32
    narrow = lowered(_scaled(3.0), ARCHITECTURES["gfx10-3-generic"])
    target = tvm.target.Target(rocm_target(PAIR[0]), host="llvm")
    with ahead_of_time(PAIR, {32: narrow}) as built:
        tvm.compile(_scaled(5.0), target=target, tir_pipeline=PIPELINE)
    assert built.code_objects is not None
    code = {name: found.assembly for name, found in built.code_objects.items()}
    assert five in code["gfx90a"]
    assert three not in code["gfx90a"]
    assert three in code["gfx10-3-generic"]
    assert five not in code["gfx10-3-generic"]


def test_kernels_that_launch_differently_cannot_share_a_bundle() -> None:
    one = lowered(_scaled(2.0), PAIR[0])
    other = lowered(increment_module(), PAIR[0])
    with pytest.raises(CompileError, match="waves of 32 and of 64"):
        require_equal_launches(one, other)
    require_equal_launches(one, lowered(_scaled(5.0), PAIR[1]))


def test_collecting_compiles_nothing() -> None:
    with collecting() as collected:
        pass
    assert collected.kernels is None
    kernels = lowered(everything_module(), PAIR[0])
    names = {str(variable.name_hint) for variable in kernels.functions}
    assert names == {"soft_row_kernel", "dots_kernel", "mathematics_kernel"}


@pytest.mark.parametrize("function", ["ferrylm.no_such_operation", "erfinvf"])
def test_a_function_that_no_gpu_has_is_named_in_the_error(function: str) -> None:
    @I.ir_module
    class Module:
        @T.prim_func
        def strange(x: T.Buffer((64,), "float32")):
            T.func_attr({"global_symbol": "strange", "tirx.noalias": True})
            thread = T.launch_thread("threadIdx.x", 64)
            x[thread] = T.call_pure_extern("float32", function, x[thread])

    with pytest.raises(CompileError, match=function):
        build(Module, PAIR)


def test_too_much_lds_is_a_compile_error_that_names_kernel_and_architecture() -> None:
    @I.ir_module
    class Module:
        @T.prim_func
        def greedy(x: T.Buffer((64,), "float32")):
            T.func_attr({"global_symbol": "greedy", "tirx.noalias": True})
            thread = T.launch_thread("threadIdx.x", 64)
            shared = T.alloc_buffer((20000,), "float32", scope="shared")
            shared[thread * 300] = x[thread]
            T.tvm_storage_sync("shared")
            x[thread] = shared[(63 - thread) * 300]

    with pytest.raises(CompileError, match="gfx90a"):
        build(Module, PAIR)


def _scaled(factor: float) -> object:
    @I.ir_module
    class Module:
        @T.prim_func
        def scale(x: T.Buffer((64,), "float32")):
            T.func_attr({"global_symbol": "scale", "tirx.noalias": True})
            thread = T.launch_thread("threadIdx.x", 64)
            x[thread] = x[thread] * T.float32(factor)

    return Module
