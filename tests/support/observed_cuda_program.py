"""cuda_program.py with actions more: a step on the stand-ins is watched, and its kernels timed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from cuda_program import ACTIONS, main, note

from ferrylm.runtime.cuda_backend import CudaBackend
from ferrylm.runtime.device_bandwidth import measure_device_bandwidth
from ferrylm.runtime.kernel_sequences import KeptCall, sequence_milliseconds
from ferrylm.runtime.observed_backend import ObservedBackend


class Loaded:
    """A backend whose virtual machine is loaded already."""

    def __init__(self, backend: CudaBackend, machine: Any) -> None:
        self._backend, self._machine = backend, machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def load(self, _module: Any) -> Any:
        return self._machine


def observe(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Replay a step, watch it, time the kernel that it calls twice, and replay it again.

    Only the first of the two reads x, which is said to be in no cache.
    """
    observed = ObservedBackend(Loaded(backend, machine))  # type: ignore[arg-type]
    function = observed.load(None)["main"]
    x = backend.upload(np.arange(256, dtype=np.float32))
    step = observed.repeated(lambda: function(x))
    step.run()
    calls: list[tuple[str, KeptCall]] = []

    def watch(function: Any, name: str, before: bool, _result: Any, *arguments: Any) -> int:
        if before and not name.startswith("vm.builtin."):
            calls.append((name, KeptCall(function, arguments, 64 << 20)))
        return 0

    with observed.direct(), observed.instrumented(watch):
        step.run()
    twice = [call for name, call in calls if name == "double"]
    number, before = (backend.upload(np.full(4, value, np.int32)) for value in (7, 3))
    twice[0] = replace(twice[0], integers=((number, before),))
    note("sequence")
    times = sequence_milliseconds(backend, twice, lambda value: value.data_ptr() == x.data_ptr(), 3)
    note("measured")
    step.run()
    return {
        "names": [name for name, _ in calls], "x": hex(x.data_ptr()), "times": times,
        "integers": backend.download(number).tolist(),
    }  # fmt: skip


def bandwidth(backend: CudaBackend, _machine: Any) -> dict[str, Any]:
    """Measure the bandwidth of memory."""
    found = measure_device_bandwidth(backend, 1)
    return {"gb_s": found.gb_s, "method": found.method}


if __name__ == "__main__":
    ACTIONS["observe"] = observe
    ACTIONS["bandwidth"] = bandwidth
    main()
