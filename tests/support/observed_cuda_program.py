"""cuda_program.py with one action more: a step on the stand-ins, replayed and then watched."""

from __future__ import annotations

from typing import Any

import numpy as np
from cuda_program import ACTIONS, main, note

from ferrylm.runtime.cuda_backend import CudaBackend
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
    """Replay a step, time its kernels behind two copies, and replay it again."""
    observed = ObservedBackend(Loaded(backend, machine))  # type: ignore[arg-type]
    function = observed.load(None)["main"]
    x = backend.upload(np.arange(256, dtype=np.float32))
    source, target = (backend.upload(np.zeros(4096, np.uint8)) for _ in range(2))
    step = observed.repeated(lambda: function(x))
    step.run()
    names: list[str] = []

    def watch(_function: Any, name: str, before: bool, _result: Any, *_arguments: Any) -> int:
        if before:
            names.append(name)
        return 0

    def run_ahead() -> None:
        note("run ahead")
        for _ in range(2):
            source.copyto(target)

    with observed.direct(), observed.instrumented(watch):
        step.run()
    note("profile")
    with observed.direct(run_ahead):
        kernels = observed.profile(step.run)
    note("profiled")
    step.run()
    return {"kernels": kernels, "names": names}


if __name__ == "__main__":
    ACTIONS["observe"] = observe
    main()
