"""Our functions in LLVM's language, run on the host and compared with float64.

The very text that goes into the kernels is compiled for this machine. On a GPU, exp2 and log2 are
instructions with an error of one unit in the last place, like those of the C library here.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray

from ferrylm.compile.link import link_shared
from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm.device_functions import function_text
from ferrylm.compile.rocm.llvm_text import declarations

Floats = NDArray[np.float32]
_NAMES = ("sin", "cos", "pow")
_ULP = 2.0**-23


def _loop(name: str, arguments: int) -> str:
    """Return a function that calls `name` for each element of arrays."""
    pointers = ", ".join(f"ptr %p{index}" for index in range(arguments))
    loads, values = [], []
    for index in range(arguments):
        loads.append(f"%a{index} = getelementptr float, ptr %p{index}, i64 %i")
        loads.append(f"%v{index} = load float, ptr %a{index}")
        values.append(f"float %v{index}")
    body = "\n  ".join(loads)
    return f"""define void @run_{name}(ptr %out, {pointers}, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {body}
  %r = call float @ferrylm.{name}.float32({", ".join(values)})
  %o = getelementptr float, ptr %out, i64 %i
  store float %r, ptr %o
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


@pytest.fixture(scope="module")
def host_functions(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    arch = ARCHITECTURES["gfx9-generic"]
    names = [f"ferrylm.{name}.float32" for name in _NAMES]
    bodies = "".join(function_text(name, arch) for name in names)
    loops = "".join(_loop(name, 2 if name == "pow" else 1) for name in _NAMES)
    folder = tmp_path_factory.mktemp("functions")
    source = folder / "functions.ll"
    described = json.dumps({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"})
    quoted = described.replace('"', "\\22")
    flag = f'!llvm.module.flags = !{{!0}}\n!0 = !{{i32 2, !"tvm_target", !"{quoted}"}}\n'
    source.write_text(bodies + loops + declarations(bodies, set()) + "\n" + flag)
    module = tvm.runtime.load_module(str(source))
    compiled, library = folder / "functions.o", folder / "functions.so"
    module.write_to_file(str(compiled), "o")
    link_shared(library, [compiled], "x86_64")
    ctypes.CDLL("libm.so.6", ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(library))


def _run(functions: ctypes.CDLL, name: str, *inputs: Floats) -> NDArray[np.float64]:
    arrays = [np.ascontiguousarray(x, dtype=np.float32) for x in np.broadcast_arrays(*inputs)]
    out = np.empty(arrays[0].shape, np.float32)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (out, *arrays)]
    getattr(functions, f"run_{name}")(*pointers, ctypes.c_int64(out.size))
    return out.astype(np.float64)


@pytest.mark.parametrize(("name", "exact"), [("sin", np.sin), ("cos", np.cos)])
def test_sine_and_cosine_are_within_their_stated_error(
    host_functions: ctypes.CDLL, name: str, exact: Callable[..., NDArray[np.float64]]
) -> None:
    rng = np.random.default_rng(1)
    angles = np.concatenate(
        [rng.uniform(-10, 10, 50_000), rng.uniform(-131072, 131072, 50_000)]
    ).astype(np.float32)
    error = np.abs(_run(host_functions, name, angles) - exact(angles.astype(np.float64)))
    assert error.max() < 1.2e-7
    assert np.isnan(_run(host_functions, name, np.float32([np.inf, -np.inf, np.nan]))).all()


def test_the_sine_of_small_angles_keeps_its_relative_error(host_functions: ctypes.CDLL) -> None:
    angles = np.logspace(-30, 0, 5000).astype(np.float32)
    exact = np.sin(angles.astype(np.float64))
    assert (np.abs(_run(host_functions, "sin", angles) / exact - 1)).max() < 1.5 * _ULP


def test_powers_are_within_their_stated_error(host_functions: ctypes.CDLL) -> None:
    rng = np.random.default_rng(2)
    base = np.exp2(rng.uniform(-20, 20, 100_000)).astype(np.float32)
    exponent = rng.uniform(-6, 6, 100_000).astype(np.float32)
    exact = np.power(base.astype(np.float64), exponent.astype(np.float64))
    size = np.abs(exponent * np.log2(base.astype(np.float64)))
    error = np.abs(_run(host_functions, "pow", base, exponent) / exact - 1)
    assert (error / ((2 + 1.4 * size) * 2.0**-24)).max() < 1


def test_powers_of_special_numbers_are_those_of_c(host_functions: ctypes.CDLL) -> None:
    numbers = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, np.inf, -np.inf, np.nan]
    exponents = [*numbers, 3.0, -3.0, 1e10, -2.5]
    base, exponent = (part.ravel().astype(np.float32) for part in np.meshgrid(numbers, exponents))
    with np.errstate(all="ignore"):
        wanted = np.power(base, exponent)
    got = _run(host_functions, "pow", base, exponent).astype(np.float32)
    close = np.isclose(got, wanted, rtol=1e-6, equal_nan=True)
    signs = np.isnan(wanted) | (np.signbit(got) == np.signbit(wanted))
    assert np.all(close & signs), [*zip(base, exponent, got, wanted, strict=True)][
        int(np.argmin(close & signs))
    ]


@pytest.mark.parametrize(("name", "first"), [("dot4_i8", "sext($1)"), ("dot4_u8_i8", "$1")])
def test_without_an_instruction_each_byte_is_multiplied_where_it_lies(
    name: str, first: str
) -> None:
    text = function_text(f"ferrylm.{name}", ARCHITECTURES["gfx9-generic"])
    for byte in range(4):
        wanted = f"{first}, sext($2) dst_sel:DWORD src0_sel:BYTE_{byte} src1_sel:BYTE_{byte}"
        assert text.count(wanted) == 1
    assert text.count("add i32") == 4


def test_an_unsigned_dot_product_out_of_signed_ones_is_exact() -> None:
    """Execute the rewriting that chips with signed dot products only get, in numpy."""
    rng = np.random.default_rng(4)
    a = rng.integers(0, 256, (10_000, 4))
    b = rng.integers(-128, 128, (10_000, 4))
    shifted = (a ^ 0x80).astype(np.uint8).view(np.int8).astype(np.int64)
    assert np.array_equal((shifted * b).sum(axis=1) + (b.sum(axis=1) << 7), (a * b).sum(axis=1))
    text = function_text("ferrylm.dot4_u8_i8", ARCHITECTURES["gfx90a"])
    assert text.count("sdot4") == 2
    assert "shl i32 %sum, 7" in text
    assert f"xor i32 %a, {0x80808080 - 2**32}" in text


def test_dot_products_are_one_instruction_where_there_is_one() -> None:
    signed = function_text("ferrylm.dot4_i8", ARCHITECTURES["gfx1030"])
    mixed = function_text("ferrylm.dot4_u8_i8", ARCHITECTURES["gfx1100"])
    assert "sdot4" in signed
    assert "i1 false, i32 %a, i1 true, i32 %b" in mixed


def test_vectors_and_halves_go_through_the_scalar_function(tmp_path: Path) -> None:
    text = function_text("ferrylm.pow.float16x2", ARCHITECTURES["gfx1100"])
    assert text.count("call float @ferrylm.pow.float16x2.single") == 2
