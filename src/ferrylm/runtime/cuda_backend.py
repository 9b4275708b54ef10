"""An NVIDIA GPU behind the engine's interface: one stream, and decode steps as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ferrylm.errors import DeviceError, FerryError, MemoryLimitError
from ferrylm.runtime.backends.base import Array, Step, Tensor
from ferrylm.runtime.cuda_checks import mode_problem
from ferrylm.runtime.cuda_chip import offer_answers
from ferrylm.runtime.cuda_copies import CudaCopies
from ferrylm.runtime.cuda_driver import probe_driver
from ferrylm.runtime.cuda_graph import CudaGraph, CudaRuntime
from ferrylm.runtime.cuda_libraries import load_tvm_cuda
from ferrylm.runtime.device_tensors import array_bytes
from ferrylm.runtime.devices import GpuDevice, GpuProbe

_ALLOCATE = "vm.builtin.alloc_storage"
DEFAULT_STREAM = 0
_KEEP_RUNNING = 0  # VMInstrumentReturnKind::kNoOp


def probe() -> GpuProbe:
    """Return the GPUs that the NVIDIA driver offers, or why there are none; never raises."""
    found = probe_driver()
    if found.problem is not None:
        return GpuProbe((), f"{found.problem}; {found.fix}")
    return GpuProbe(found.devices)


class CudaBackend(CudaCopies):
    """One NVIDIA GPU.

    All work goes to one stream of its own, which keeps order with the default stream, so that
    what others put there is never overtaken.
    """

    kind = "cuda"

    def __init__(self, device: GpuDevice) -> None:
        """Load TVM's CUDA runtime for a GPU that `probe` found. Raises DeviceError."""
        problem = mode_problem(device)
        if problem is not None:
            raise problem
        self.runtime = CudaRuntime(load_tvm_cuda())
        offer_answers(self.runtime)
        import tvm

        super().__init__(tvm.runtime.device("cuda", device.index))
        self.name = device.name
        self.description = f"{device.name}, driver {device.driver}"
        self._found = device
        self.runtime.select(device.index)
        self._free_at_first, _ = self.runtime.memory()
        self.stream = self.runtime.new_stream()
        self._machines: list[Any] = []
        self._graphs: list[CudaGraph] = []
        self._pinned: Any = None

    def report(self) -> GpuDevice | None:
        """Return what the driver said of the device."""
        return self._found

    def free_bytes(self) -> int:
        """Return the device memory that nobody holds."""
        self.runtime.select(self._found.index)
        return self.runtime.memory()[0]

    def used_bytes(self) -> int:
        """Return by how much free memory shrank; right if no other process allocated since."""
        return max(0, self._free_at_first - self.free_bytes())

    def load(self, module: Any) -> Any:
        """Return a virtual machine."""
        from tvm.runtime.vm import VirtualMachine

        machine = VirtualMachine(module, self.device)
        self._machines.append(machine)
        return machine

    def repeated(self, call: Callable[[], Tensor]) -> Step:
        """Return a step that is captured at its first run and replayed from then on.

        Capturing makes the call twice more, so it must not matter how often it is made.
        """
        return CudaStep(self, call)

    def read_rows(self, tensor: Tensor, rows: int) -> Array:
        """Return the first rows, in memory that the next call uses again.

        It is pinned: a copy to other memory takes a detour that costs a step as much as a layer.
        """
        shape = (rows, *(int(size) for size in tensor.shape[1:]))
        dtype = str(tensor.dtype)
        size_bytes = array_bytes(shape, dtype)
        if self._pinned is None or len(self._pinned) < size_bytes:
            self._free_pinned()
            self._pinned = self.runtime.pinned_bytes(size_bytes)
        self.runtime.copy_to_host(self._pinned, tensor.data_ptr(), size_bytes, self.stream)
        self.runtime.synchronize(self.stream)
        content = np.frombuffer(self._pinned, np.uint8, size_bytes)
        array: Array = content.view(dtype).reshape(shape)
        return array

    def _free_pinned(self) -> None:
        if self._pinned is not None:
            self.runtime.free_pinned(self._pinned)
            self._pinned = None

    def synchronize(self) -> None:
        """Wait until the device has done all it was asked for."""
        self.runtime.synchronize(DEFAULT_STREAM)  # TVM's copies are there
        self.runtime.synchronize(self.stream)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Make the calling thread use this device and its stream; errors are typed.

        Raises DeviceError, MemoryLimitError.
        """
        self.runtime.select(self._found.index)
        try:
            with self._own_stream():
                yield
        except FerryError:
            raise
        except RuntimeError as error:
            raise typed_error(error, self.name) from error

    def record(self, call: Callable[[], Tensor]) -> tuple[CudaGraph, Tensor, list[Any]]:
        """Run a call, then capture it; return the graph, its result and the memory it uses.

        The graph's kernels hold addresses, so that memory must stay allocated as long as it, and a
        capture must not ask CUDA for more. Hence two runs before: the first loads the kernels; in
        the second nothing is freed, so that TVM's pool then has a block for each allocation. (A
        virtual machine keeps its last result, therefore one run would leave a block too few.)
        Raises DeviceError.
        """
        with self._own_stream():
            call()
            with self._holding_storage():
                call()
            self.synchronize()
            self.runtime.begin_capture(self.stream)
            try:
                with self._holding_storage() as held:
                    result = call()
            except BaseException:
                self.runtime.abandon_capture(self.stream)
                raise
            graph = self.runtime.end_capture(self.stream)
            self._graphs.append(graph)
            return graph, result, held

    def attribute(self, which: int) -> int:
        """Return an attribute of the device, by its number in CUDA's cudaDeviceAttr."""
        return self.runtime.attribute(which, self._found.index)

    def replayed_milliseconds(self, call: Callable[[], Tensor], repetitions: int) -> list[float]:
        """Capture a call, replay it so often, after one to warm up, and return each time.

        Raises DeviceError.
        """
        graph, _result, _held = self.record(call)
        times = []
        try:
            for _ in range(repetitions + 1):
                start, end = self.runtime.new_event(), self.runtime.new_event()
                self.runtime.record_event(start, self.stream)
                graph.launch(self.stream)
                self.runtime.record_event(end, self.stream)
                times.append(self.runtime.milliseconds(start, end))
                self.runtime.free_event(start)
                self.runtime.free_event(end)
        finally:
            self.synchronize()
            self._graphs.remove(graph)
            graph.close()
        return times[1:]

    def profile(self, call: Callable[[], object]) -> list[dict[str, object]]:
        """Return kernel function, milliseconds and grid (not known) of each call of a step.

        Each time is of what lies between two events, the launch among it; where kernels take a few
        microseconds, `replayed_milliseconds` of many of them says more.
        """
        events: list[tuple[str, Any, Any]] = []

        def note(_function: Any, name: str, before: bool, _result: Any, *_arguments: Any) -> int:
            if not name.startswith("vm.builtin."):
                if before:
                    events.append((name, self.runtime.new_event(), self.runtime.new_event()))
                self.runtime.record_event(events[-1][1 if before else 2], self.stream)
            return _KEEP_RUNNING

        with self._own_stream(), self._instrumented(note):
            call()
        times: list[dict[str, object]] = []
        for name, start, end in events:
            passed = self.runtime.milliseconds(start, end)
            times.append({"kernel": name, "milliseconds": passed, "grid": None})
            self.runtime.free_event(start)
            self.runtime.free_event(end)
        return times

    def close(self) -> None:
        """Let go of the stream, of the graphs, and of what this object allocated.

        A device that failed says so no second time.
        """
        with suppress(FerryError):
            self.synchronize()
            self.close_outboxes()
            for graph in self._graphs:
                graph.close()
            self.runtime.free_stream(self.stream)
            self._free_pinned()
        self._graphs.clear()
        self._machines.clear()
        self.forget()

    def _own_stream(self) -> Any:
        import tvm_ffi

        return tvm_ffi.use_raw_stream(self.device, self.stream)

    @contextmanager
    def _holding_storage(self) -> Iterator[list[Any]]:
        """Keep every storage that the virtual machines allocate meanwhile."""
        held: list[Any] = []

        def keep(_function: Any, name: str, before: bool, result: Any, *_arguments: Any) -> int:
            if name == _ALLOCATE and not before:
                held.append(result)
            return _KEEP_RUNNING

        with self._instrumented(keep):
            yield held

    @contextmanager
    def _instrumented(self, function: Callable[..., int]) -> Iterator[None]:
        for machine in self._machines:
            machine.set_instrument(function)
        try:
            yield
        finally:
            for machine in self._machines:
                machine.set_instrument(None)


class CudaStep:
    """A call that is captured once and from then on is one launch of a graph."""

    def __init__(self, backend: CudaBackend, call: Callable[[], Tensor]) -> None:
        self._backend, self._call = backend, call
        self._recorded: tuple[CudaGraph, Tensor, list[Any]] | None = None

    def run(self) -> Tensor:
        """Do it once; the result is valid until the next run. Raises DeviceError."""
        self.prepare()
        assert self._recorded is not None, "prepared"
        graph, result, _ = self._recorded
        graph.launch(self._backend.stream)
        return result

    def prepare(self) -> None:
        """Capture it, which makes the call three times, once without effect."""
        if self._recorded is None:
            self._recorded = self._backend.record(self._call)


def typed_error(error: RuntimeError, name: str) -> FerryError:
    """Return TVM's complaint about a device as an error of this package."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = next((line for line in lines if "CUDA" in line or "out of memory" in line), lines[0])
    found = f"{name}: {text.strip()[:300]}"
    if "out of memory" in str(error).lower() or "CUDA_ERROR_OUT_OF_MEMORY" in str(error):
        return MemoryLimitError(
            found, wanted="free device memory", fix="take a smaller context or batch"
        )
    if "NO_BINARY_FOR_GPU" in str(error):
        return DeviceError(
            found, wanted="code for this chip", fix="compile the model with its --cuda-arch"
        )
    return DeviceError(
        found, wanted="a working GPU", fix="look at nvidia-smi, and start the program again"
    )
