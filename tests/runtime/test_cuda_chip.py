from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tvm_ffi

from ferrylm.runtime import cuda_chip
from ferrylm.schedules.gpu import by_chip

DEVICES = ({75: 9, 76: 0, 16: 132}, {75: 12, 76: 0, 16: 170})  # cudaDeviceAttr


class Runtime:
    """Two devices, of which one is the calling thread's."""

    def __init__(self) -> None:
        self.index, self.asked = 0, 0

    def selected(self) -> int:
        """Return the thread's device."""
        return self.index

    def attribute(self, which: int, index: int) -> int:
        """Return what a device says."""
        self.asked += 1
        return DEVICES[index][which]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """Return the devices that libraries are told about, and forget them afterwards."""
    found: Any = Runtime()
    cuda_chip.offer_answers(found)
    yield found
    for name in (cuda_chip.CHIP, cuda_chip.PROCESSORS):
        tvm_ffi.registry.remove_global_func(name)


def test_a_library_asks_by_the_names_that_the_runtime_answers_to() -> None:
    assert (cuda_chip.CHIP, cuda_chip.PROCESSORS) == (by_chip.CHIP, by_chip.PROCESSORS)


def test_the_answer_is_about_the_threads_device(runtime: Runtime) -> None:
    chip = tvm_ffi.get_global_func(cuda_chip.CHIP)
    processors = tvm_ffi.get_global_func(cuda_chip.PROCESSORS)
    assert (chip(), processors()) == (90, 132)
    runtime.index = 1
    assert (chip(), processors()) == (120, 170)


def test_a_device_is_asked_once(runtime: Runtime) -> None:
    chip = tvm_ffi.get_global_func(cuda_chip.CHIP)
    assert chip() == chip() == 90
    assert runtime.asked == 2
