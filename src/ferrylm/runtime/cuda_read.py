"""A kernel that reads memory and does nothing else: the measure of an NVIDIA GPU's bandwidth.

It is PTX, which every driver compiles for its own chip, so neither a compiler nor an artifact is
needed. A thread takes 16 bytes, its neighbour the next 16; four such loads are under way at once,
marked as read once (PTX ISA, cache operators: cs).
"""

from __future__ import annotations

import ctypes
import statistics
from typing import Any

from ferrylm.errors import DeviceError
from ferrylm.runtime.cuda_backend import CudaBackend
from ferrylm.runtime.cuda_driver import LIBRARIES

KERNEL = "ferrylm_read"
THREADS, LOADS, LOAD_BYTES = 512, 4, 16
_BLOCKS_A_MULTIPROCESSOR = (4, 8, 16)  # the first fills it; more even out what ends early
_ROUNDS, _LAUNCHES = 7, 4  # a round's launches follow each other: one alone pays for its start
_MULTIPROCESSORS = 16  # cudaDevAttrMultiProcessorCount

PTX = f"""
.version 6.3
.target sm_75
.address_size 64
.visible .entry {KERNEL}(.param .u64 source, .param .u64 result, .param .u32 turns)
.maxntid {THREADS}, 1, 1
{{
  .reg .pred %last, %found;
  .reg .b32 %turn, %turns, %block, %thread, %blocks, %sum, %x<16>;
  .reg .b64 %at, %next, %result, %stride, %offset;
  ld.param.u64 %at, [source];
  ld.param.u64 %result, [result];
  ld.param.u32 %turns, [turns];
  mov.u32 %block, %ctaid.x;
  mov.u32 %thread, %tid.x;
  mov.u32 %blocks, %nctaid.x;
  mad.lo.u32 %block, %block, {THREADS}, %thread;
  mul.wide.u32 %offset, %block, {LOAD_BYTES};
  add.u64 %at, %at, %offset;
  mul.wide.u32 %stride, %blocks, {THREADS * LOAD_BYTES};
  mov.u32 %turn, 0;
  mov.u32 %sum, 0;
more:
  ld.global.cs.v4.u32 {{%x0, %x1, %x2, %x3}}, [%at];
  add.u64 %next, %at, %stride;
  ld.global.cs.v4.u32 {{%x4, %x5, %x6, %x7}}, [%next];
  add.u64 %next, %next, %stride;
  ld.global.cs.v4.u32 {{%x8, %x9, %x10, %x11}}, [%next];
  add.u64 %next, %next, %stride;
  ld.global.cs.v4.u32 {{%x12, %x13, %x14, %x15}}, [%next];
  add.u64 %at, %next, %stride;
{"".join(f"  xor.b32 %sum, %sum, %x{index};" + chr(10) for index in range(LOADS * 4))}\
  add.u32 %turn, %turn, 1;
  setp.lo.u32 %last, %turn, %turns;
  @%last bra more;
  setp.eq.u32 %found, %sum, 0x9e3779b9;
  @%found st.global.u32 [%result], %sum;
  ret;
}}
"""


def read_gb_s(backend: CudaBackend, size_bytes: int) -> float:
    """Return the rate, in 10^9 bytes per second, of reading about so many bytes of memory.

    The median of several rounds, for the number of blocks with which that is highest. Raises
    DeviceError, MemoryLimitError.
    """
    processors = backend.attribute(_MULTIPROCESSORS)
    with backend.calling():
        kernel = _Kernel(backend)
        rates = [kernel.gb_s(count * processors, size_bytes) for count in _BLOCKS_A_MULTIPROCESSOR]
        kernel.close()
    return max(rates)


class _Kernel:
    """The kernel, loaded into the context of the backend's device."""

    def __init__(self, backend: CudaBackend) -> None:
        self._backend = backend
        self._driver = _open_driver()
        backend.synchronize()  # which makes the context of the device, where there was none
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(self._module), PTX.encode() + b"\0")
        name = KERNEL.encode()
        self._call("cuModuleGetFunction", ctypes.byref(self._function), self._module, name)

    def gb_s(self, blocks: int, size_bytes: int) -> float:
        """Return the rate of so many blocks."""
        a_turn = blocks * THREADS * LOADS * LOAD_BYTES
        turns = max(1, size_bytes // a_turn)
        memory = self._backend.empty((turns * a_turn,), "uint8")
        result = self._backend.empty((4,), "uint8")
        given = (
            ctypes.c_uint64(memory.data_ptr()),
            ctypes.c_uint64(result.data_ptr()),
            ctypes.c_uint32(turns),
        )
        self._milliseconds(blocks, given)
        found = [self._milliseconds(blocks, given) for _ in range(_ROUNDS)]
        return _LAUNCHES * turns * a_turn / max(statistics.median(found), 1e-9) / 1e6

    def close(self) -> None:
        """Unload it."""
        self._call("cuModuleUnload", self._module)

    def _milliseconds(self, blocks: int, given: tuple[Any, ...]) -> float:
        runtime, stream = self._backend.runtime, self._backend.stream
        addresses = (ctypes.c_void_p * len(given))(*(ctypes.addressof(one) for one in given))
        start, end = runtime.new_event(), runtime.new_event()
        runtime.record_event(start, stream)
        sizes = [ctypes.c_uint(size) for size in (blocks, 1, 1, THREADS, 1, 1, 0)]
        for _ in range(_LAUNCHES):
            self._call(
                "cuLaunchKernel", self._function, *sizes, ctypes.c_void_p(stream), addresses, None
            )
        runtime.record_event(end, stream)
        passed = runtime.milliseconds(start, end)
        runtime.free_event(start)
        runtime.free_event(end)
        return passed

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status != 0:
            raise DeviceError(
                f"{self._backend.name}: {name} failed with {status}, CUDA Driver API",
                wanted="a driver that compiles PTX",
                fix="install the NVIDIA driver, version 580 or newer",
            )


def _open_driver() -> Any:
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise DeviceError(
        "no NVIDIA driver (no libcuda.so.1)",
        wanted="the driver that the GPU runs on",
        fix="install the NVIDIA driver, version 580 or newer",
    )
