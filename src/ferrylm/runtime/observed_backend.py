"""A backend that lets its kernels be watched: it stands between an engine and its device.

An engine on it works as on the device itself. Inside `direct()` steps are made kernel by kernel
instead of replaying their recording, which carries no times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from ferrylm.runtime.backends.base import Backend, Step, Tensor

# (function, name, before or after it, its result, its arguments) -> VMInstrumentReturnKind
Instrument = Callable[..., int]


class ObservedBackend:
    """Everything that the backend below does, and the virtual machines that it loaded."""

    def __init__(self, below: Backend) -> None:
        self.below = below
        self._machines: list[Any] = []
        self._direct = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def as_backend(self) -> Backend:
        """Return this object as what it stands for."""
        return cast(Backend, self)

    def load(self, module: Any) -> Any:
        """Return a virtual machine that can be watched."""
        machine = self.below.load(module)
        self._machines.append(machine)
        return machine

    def repeated(self, call: Callable[[], Tensor]) -> Step:
        """Return a step that is recorded, or made directly inside `direct`."""
        return _EitherStep(self, self.below.repeated(call), call)

    @property
    def is_direct(self) -> bool:
        """Say whether steps are made kernel by kernel."""
        return self._direct

    @contextmanager
    def direct(self) -> Iterator[None]:
        """Make steps kernel by kernel."""
        self._direct = True
        try:
            yield
        finally:
            self._direct = False

    @contextmanager
    def instrumented(self, instrument: Instrument) -> Iterator[None]:
        """Call a function before and after everything that the virtual machines call."""
        for machine in self._machines:
            machine.set_instrument(instrument)
        try:
            yield
        finally:
            for machine in self._machines:
                machine.set_instrument(None)


class _EitherStep:
    def __init__(self, observed: ObservedBackend, recorded: Step, call: Callable[[], Tensor]):
        self._observed, self._recorded, self._call = observed, recorded, call

    def run(self) -> Tensor:
        """Do it once."""
        return self._call() if self._observed.is_direct else self._recorded.run()

    def prepare(self) -> None:
        """Record it, unless steps are made directly."""
        if not self._observed.is_direct:
            self._recorded.prepare()
