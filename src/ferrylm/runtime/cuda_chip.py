"""What the host's part of a CUDA library asks before it launches: schedules/gpu/by_chip.py."""

from __future__ import annotations

from functools import cache

from ferrylm.runtime.cuda_graph import CudaRuntime

CHIP, PROCESSORS = "ferrylm.cuda_chip", "ferrylm.cuda_processors"
_MAJOR, _MINOR, _PROCESSORS = 75, 76, 16  # cudaDeviceAttr


def offer_answers(runtime: CudaRuntime) -> None:
    """Let libraries ask about the calling thread's device.

    Its chip, ten times the compute capability, and its number of multiprocessors.
    """
    import tvm_ffi

    attribute = cache(runtime.attribute)

    def chip() -> int:
        index = runtime.selected()
        return 10 * attribute(_MAJOR, index) + attribute(_MINOR, index)

    def processors() -> int:
        return attribute(_PROCESSORS, runtime.selected())

    tvm_ffi.register_global_func(CHIP, chip, override=True)
    tvm_ffi.register_global_func(PROCESSORS, processors, override=True)
