"""No product spills registers, on the chips that have the fewest or must do without dot products.

`scripts/check_chips.py` says the same of every kernel and chip of a whole artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import rocm_kernels
import tvm

from ferrylm.compile.rocm.architectures import architectures
from ferrylm.compile.rocm.kernel_resources import (
    KernelResources,
    code_object_resources,
    defects,
    spills,
)
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec import Product, matvec
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.tiles import ROW_TILE, matvec_tile

# Rows, columns, epilogue: Llama 3 8B's gate and up, down, and Qwen2.5 0.5B's, narrower than a wave.
SHAPES = ((28672, 4096, "swiglu"), (4096, 14336, "residual"), (9728, 896, "swiglu"))
ROWS = {"batch1": Rows(1, 1), "prefill": Rows(ROW_TILE)}
CHIPS = {32: ("gfx1102", "gfx10-1-generic"), 64: ("gfx9-generic",)}


def products(wave: int) -> Any:
    """Return the kernels of the shapes for waves of one width."""
    profile = GpuProfile(f"wave{wave}", "rocm", wave, dot=True, shared_bytes=64 << 10)
    found = {}
    for rows, columns, epilogue in SHAPES:
        fmt = WeightFormat(rows, columns, "q4", False, "int16")
        for name, count in ROWS.items():
            product = Product(
                count, fmt, epilogue, eps=1e-5 if epilogue == "swiglu" else None, parts=2
            )
            kernel = matvec(product, matvec_tile(profile, product), wave)
            symbol = f"{epilogue}_{rows}x{columns}_{name}"
            found[symbol] = kernel.with_attr("global_symbol", symbol)
    return tvm.IRModule(found)


@pytest.fixture(scope="module", params=CHIPS)
def kernels(request: pytest.FixtureRequest) -> Mapping[str, list[KernelResources]]:
    """Return the kernels by chip."""
    built = rocm_kernels.build(products(request.param), architectures(CHIPS[request.param]))
    return {
        name: code_object_resources(name, found.code) for name, found in built.code_objects.items()
    }


def test_no_product_keeps_registers_in_memory(
    kernels: Mapping[str, list[KernelResources]],
) -> None:
    for chip, found in kernels.items():
        assert len(found) == len(SHAPES) * len(ROWS)
        wrong = {kernel.name: [*defects(kernel), *spills(kernel)] for kernel in found}
        assert {name: said for name, said in wrong.items() if said} == {}, chip


def test_workgroups_leave_every_lane_a_fair_share_of_registers(
    kernels: Mapping[str, list[KernelResources]],
) -> None:
    for kernel in (kernel for found in kernels.values() for kernel in found):
        assert kernel.block_threads <= 256
