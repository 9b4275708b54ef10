"""A backend for the CPU that treats it as a GPU: nothing is shared with the host, all is copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ferrylm.runtime.backends.gpu import DeviceMemory
from ferrylm.runtime.devices import GpuDevice
from ferrylm.runtime.threads import use_threads


class CopyingBackend(DeviceMemory):
    """Runs CPU libraries; counts how often each step was run."""

    kind = "cpu"
    name = description = "a processor that acts as a GPU"

    def __init__(self) -> None:
        import tvm

        super().__init__(tvm.cpu())
        self.steps: list[CountedStep] = []
        self.closed = False

    def report(self) -> GpuDevice | None:
        return None

    def used_bytes(self) -> int:
        return 0

    def load(self, module: Any) -> Any:
        from tvm.runtime.vm import VirtualMachine

        return VirtualMachine(module, self.device)

    def repeated(self, call: Callable[[], Any]) -> CountedStep:
        self.steps.append(CountedStep(call))
        return self.steps[-1]

    @contextmanager
    def calling(self) -> Iterator[None]:
        use_threads(1)
        yield

    def profile(self, call: Callable[[], object]) -> list[dict[str, object]]:
        call()
        return []

    def close(self) -> None:
        self.forget()
        self.closed = True


class CountedStep:
    """Makes its call into the tensor of its first result, as a recording does."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self._result, self.runs = call, None, 0

    def run(self) -> Any:
        self.runs += 1
        found = self._call()
        if self._result is None:
            self._result = found
        else:
            found.copyto(self._result)
        return self._result
