# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""TVM's virtual machine on a Vulkan device: its storage is the runtime's own."""

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from vulkan_containers import ADD, THREADS, groups, module

from ferrylm.runtime import vulkan_backend

COUNT = 3000


@I.ir_module
class Quadruple:
    @R.function
    def main(x: R.Tensor((3000,), "float32")) -> R.Tensor((3000,), "float32"):
        with R.dataflow():
            twice = R.call_dps_packed(
                "ferrylm.test.vulkan_double", (x,), R.Tensor((3000,), "float32")
            )
            result = R.call_dps_packed(
                "ferrylm.test.vulkan_double", (twice,), R.Tensor((3000,), "float32")
            )
            R.output(result)
        return result


@pytest.fixture(scope="module")
def machine_and_kernels() -> tuple[Any, Any]:
    """Return a machine that computes 4 x by two launches of `add`, and the kernels' module."""
    kernels = module(ADD)

    def double(source: Any, target: Any) -> None:
        kernels["add"](source, source, target, COUNT, groups(COUNT), THREADS)

    tvm.register_global_func("ferrylm.test.vulkan_double", double, override=True)
    executable = relax.build(Quadruple, target="llvm")
    return relax.VirtualMachine(executable, tvm.vulkan(0)), kernels


def test_a_function_runs_and_its_storage_comes_back(
    device: Any, machine_and_kernels: tuple[Any, Any]
) -> None:
    machine, _ = machine_and_kernels
    values = np.random.default_rng(1).standard_normal(COUNT).astype(np.float32)
    source = tvm.runtime.tensor(values, device)
    machine["main"](source)  # the machine keeps the frame of its last call
    before = vulkan_backend.memory_report()
    for _ in range(100):
        result = machine["main"](source)
        assert result.device == device
        np.testing.assert_array_equal(result.numpy(), values * 4)
        del result
    assert vulkan_backend.memory_report() == before


def test_a_recorded_call_keeps_its_storage_from_later_calls(
    device: Any, machine_and_kernels: tuple[Any, Any]
) -> None:
    machine, _ = machine_and_kernels
    values = np.random.default_rng(2).standard_normal(COUNT).astype(np.float32)
    source = tvm.runtime.tensor(values, device)
    vulkan_backend.call("record_begin", 0)
    result = machine["main"](source)
    recording = vulkan_backend.call("record_end", 0)
    others = [machine["main"](source) for _ in range(5)]
    source.copyfrom(values + np.float32(1))
    vulkan_backend.call("replay", recording)
    np.testing.assert_array_equal(result.numpy(), (values + np.float32(1)) * 4)
    for other in others:
        np.testing.assert_array_equal(other.numpy(), values * 4)
