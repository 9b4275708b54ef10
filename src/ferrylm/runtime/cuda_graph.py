"""The few calls of the CUDA runtime that TVM offers no way to: streams, graphs and events."""

from __future__ import annotations

import ctypes
from typing import Any

from ferrylm.errors import DeviceError, MemoryLimitError

# cudaStreamCaptureModeThreadLocal: what other threads do meanwhile is none of the capture's
# business, and a call of this thread that may not be captured is an error, not a lost kernel.
_THREAD_LOCAL = 1
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_NOT_READY = 600  # cudaErrorNotReady
_NON_BLOCKING = 1  # cudaStreamNonBlocking
# cudaMemcpyKind
HOST_TO_DEVICE, _DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3


class CudaRuntime:
    """The functions of libcudart, errors typed."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.cudaGetErrorName.restype = ctypes.c_char_p
        library.cudaGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function. Raises DeviceError, MemoryLimitError."""
        status = getattr(self._library, name)(*arguments)
        if status == 0:
            return
        self._library.cudaGetLastError()  # or the next call reports this one's error
        kind: bytes = self._library.cudaGetErrorName(status)
        text: bytes = self._library.cudaGetErrorString(status)
        found = f"{name} failed: {kind.decode()}, {text.decode()}"
        if status == _OUT_OF_MEMORY:
            raise MemoryLimitError(
                found, wanted="free device memory", fix="take a smaller context or batch"
            )
        raise DeviceError(
            found, wanted="a working GPU", fix="look at nvidia-smi and the kernel's log"
        )

    def select(self, index: int) -> None:
        """Make a device the calling thread's."""
        self.call("cudaSetDevice", index)

    def selected(self) -> int:
        """Return the index of the calling thread's device."""
        index = ctypes.c_int()
        self.call("cudaGetDevice", ctypes.byref(index))
        return index.value

    def memory(self) -> tuple[int, int]:
        """Return the free and the total bytes of the selected device."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def attribute(self, which: int, index: int) -> int:
        """Return an attribute of a device, by its number in cudaDeviceAttr."""
        value = ctypes.c_int()
        self.call("cudaDeviceGetAttribute", ctypes.byref(value), which, index)
        return value.value

    def new_stream(self, *, alone: bool = False) -> int:
        """Return a stream that keeps order with the default stream, unless it is to be `alone`."""
        stream, flags = ctypes.c_void_p(), _NON_BLOCKING if alone else 0
        self.call("cudaStreamCreateWithFlags", ctypes.byref(stream), flags)
        return stream.value or 0

    def synchronize(self, stream: int) -> None:
        """Wait for a stream."""
        self.call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def free_stream(self, stream: int) -> None:
        """Let go of a stream."""
        self.call("cudaStreamDestroy", ctypes.c_void_p(stream))

    def begin_capture(self, stream: int) -> None:
        """Record what the calling thread puts on a stream instead of doing it."""
        self.call("cudaStreamBeginCapture", ctypes.c_void_p(stream), _THREAD_LOCAL)

    def end_capture(self, stream: int) -> CudaGraph:
        """Return what was recorded, ready to be launched."""
        graph = ctypes.c_void_p()
        self.call("cudaStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        executable = ctypes.c_void_p()
        try:
            flags = ctypes.c_ulonglong(0)
            self.call("cudaGraphInstantiate", ctypes.byref(executable), graph, flags)
        finally:
            self.call("cudaGraphDestroy", graph)
        return CudaGraph(self, executable)

    def abandon_capture(self, stream: int) -> None:
        """End a capture whose calls failed; the stream works again afterwards."""
        graph = ctypes.c_void_p()
        self._library.cudaStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
        if graph:
            self._library.cudaGraphDestroy(graph)
        self._library.cudaGetLastError()

    def pinned_bytes(self, size_bytes: int) -> Any:
        """Return host memory, a ctypes array, that the device copies to without a detour."""
        address = ctypes.c_void_p()
        self.call("cudaMallocHost", ctypes.byref(address), ctypes.c_size_t(size_bytes))
        return (ctypes.c_uint8 * size_bytes).from_address(address.value or 0)

    def free_pinned(self, memory: Any) -> None:
        """Let go of `pinned_bytes`; nobody may look at them any more."""
        self.call("cudaFreeHost", ctypes.c_void_p(ctypes.addressof(memory)))

    def copy_to_host(self, memory: Any, source: int, size_bytes: int, stream: int) -> None:
        """Copy from a device address to pinned memory, in the order of a stream."""
        target, size = ctypes.c_void_p(ctypes.addressof(memory)), ctypes.c_size_t(size_bytes)
        self.call(
            "cudaMemcpyAsync", target, ctypes.c_void_p(source), size, _DEVICE_TO_HOST,
            ctypes.c_void_p(stream),
        )  # fmt: skip

    def copy(self, target: int, source: int, size_bytes: int, kind: int, stream: int) -> None:
        """Copy between addresses, of which one may be on the host, in the order of a stream."""
        self.call(
            "cudaMemcpyAsync", ctypes.c_void_p(target), ctypes.c_void_p(source),
            ctypes.c_size_t(size_bytes), kind, ctypes.c_void_p(stream),
        )  # fmt: skip

    def wait_before(self, stream: int, event: Any) -> None:
        """Let a stream wait for an event of another one before it goes on."""
        self.call("cudaStreamWaitEvent", ctypes.c_void_p(stream), event, 0)

    def wait_for(self, event: Any) -> None:
        """Wait for an event."""
        self.call("cudaEventSynchronize", event)

    def is_over(self, event: Any) -> bool:
        """Say whether an event has come about. Raises DeviceError."""
        if self._library.cudaEventQuery(event) == _NOT_READY:
            self._library.cudaGetLastError()
            return False
        self.call("cudaEventQuery", event)
        return True

    def new_event(self) -> Any:
        """Return an event that notes the time."""
        event = ctypes.c_void_p()
        self.call("cudaEventCreate", ctypes.byref(event))
        return event

    def record_event(self, event: Any, stream: int) -> None:
        """Let a stream note the time when it comes here."""
        self.call("cudaEventRecord", event, ctypes.c_void_p(stream))

    def milliseconds(self, start: Any, end: Any) -> float:
        """Wait for an event and return the time since an earlier one."""
        self.call("cudaEventSynchronize", end)
        passed = ctypes.c_float()
        self.call("cudaEventElapsedTime", ctypes.byref(passed), start, end)
        return passed.value

    def free_event(self, event: Any) -> None:
        """Let go of an event."""
        self.call("cudaEventDestroy", event)


class CudaGraph:
    """Kernels and copies that one call launches, in their order."""

    def __init__(self, runtime: CudaRuntime, executable: Any) -> None:
        self._runtime, self._executable = runtime, executable

    def launch(self, stream: int) -> None:
        """Put all of it on a stream."""
        if self._executable is None:
            raise ValueError("a graph that was closed")
        self._runtime.call("cudaGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def close(self) -> None:
        """Let go of it; launches that are under way must have ended."""
        if self._executable is not None:
            self._runtime.call("cudaGraphExecDestroy", self._executable)
            self._executable = None
