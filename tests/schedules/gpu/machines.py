"""Where tests run kernels: on the Vulkan device, and on a chip of NVIDIA's that is emulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ferrylm.schedules.gpu.profile import GpuProfile
from tests.schedules.gpu import cuda_runner, vulkan_runner

Shapes = Sequence[tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class Machine:
    """A profile with dot products of bytes and one without, and how kernels are run for them."""

    dot: GpuProfile
    plain: GpuProfile
    build: Callable[[Mapping[str, Any]], Any]
    run: Callable[[Any, list[Any], Shapes], list[np.ndarray]]
    run_in_place: Callable[[Any, list[Any]], list[np.ndarray]]

    def __str__(self) -> str:
        return self.dot.kind

    def run_one(self, func: Any, inputs: list[Any], outputs: Shapes) -> list[np.ndarray]:
        """Build a kernel and run it."""
        return self.run(self.build({"f": func})["f"], inputs, outputs)


VULKAN = Machine(
    vulkan_runner.DOT,
    vulkan_runner.FLOAT,
    vulkan_runner.build,
    vulkan_runner.run,
    vulkan_runner.run_in_place,
)
# NVIDIA's chips all multiply bytes; weights that are floats use none of it.
CUDA = Machine(
    cuda_runner.NEW, cuda_runner.NEW, cuda_runner.build, cuda_runner.run, cuda_runner.run_in_place
)
MACHINES = (VULKAN, CUDA)
