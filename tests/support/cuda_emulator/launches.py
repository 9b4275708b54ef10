"""One launch of one kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.cuda_emulator.compiler import emulator

_MOST_STATIC_BYTES = 48 << 10  # CUDA C++ Programming Guide, "Technical Specifications"


class EmulationError(Exception):
    """A kernel did what no kernel may do."""


@dataclass(frozen=True)
class Launch:
    """How many workgroups of how many threads, and their shared memory beyond the kernel's own."""

    grid: tuple[int, int, int] = (1, 1, 1)
    workgroup: tuple[int, int, int] = (32, 1, 1)
    dynamic_bytes: int = 0

    def run(
        self, library: ctypes.CDLL, kernel: str, arguments: Sequence[int], *, backward: bool = False
    ) -> None:
        """Run a kernel of `compiler.load` on 64-bit arguments. Raises EmulationError."""
        static = ctypes.c_uint32.in_dll(library, f"shared_bytes_of_{kernel}").value
        most = ctypes.c_uint32.in_dll(library, "most_shared_bytes").value
        if static > _MOST_STATIC_BYTES or static + self.dynamic_bytes > most:
            raise EmulationError(
                f"{kernel}: {static} + {self.dynamic_bytes} bytes of shared memory, where "
                f"{_MOST_STATIC_BYTES} and {most} in all are allowed"
            )
        sizes = (*self.grid, *self.workgroup, static, self.dynamic_bytes)
        found = emulator().emulator_launch(
            getattr(library, f"emulated_{kernel}"),
            (ctypes.c_uint64 * max(1, len(arguments)))(*arguments),
            (ctypes.c_uint32 * len(sizes))(*sizes),
            int(backward),
        )
        if found is not None:
            raise EmulationError(f"{kernel}: {found.decode()}")
