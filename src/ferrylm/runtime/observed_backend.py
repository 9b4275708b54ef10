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
        self._before_step: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def as_backend(self) -> Backend:
        """Return this object as what it stands for."""
        return cast(Backend, self)

    def load(self, module: Any) -> Any:
        """Return a virtual machine whose step functions are announced."""
        machine = self.below.load(module)
        self._machines.append(machine)
        return _AnnouncedMachine(machine, self)

    def repeated(self, call: Callable[[], Tensor]) -> Step:
        """Return a step that is recorded, or made directly inside `direct`."""
        return _EitherStep(self, self.below.repeated(call), call)

    @property
    def is_direct(self) -> bool:
        """Say whether steps are made kernel by kernel."""
        return self._direct

    @contextmanager
    def direct(self, before_step: Callable[[], None] | None = None) -> Iterator[None]:
        """Make steps kernel by kernel; `before_step` is called when inputs are on the device."""
        self._direct, self._before_step = True, before_step
        try:
            yield
        finally:
            self._direct, self._before_step = False, None

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

    def announce(self) -> None:
        """Say that a step function is about to run."""
        if self._direct and self._before_step is not None:
            self._before_step()


class _AnnouncedMachine:
    def __init__(self, machine: Any, observed: ObservedBackend) -> None:
        self._machine, self._observed = machine, observed

    def __getitem__(self, name: str) -> Callable[..., Tensor]:
        function = self._machine[name]

        def step(*arguments: Any) -> Tensor:
            self._observed.announce()
            return function(*arguments)

        return step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


class _EitherStep:
    def __init__(self, observed: ObservedBackend, recorded: Step, call: Callable[[], Tensor]):
        self._observed, self._recorded, self._call = observed, recorded, call

    def run(self) -> Tensor:
        """Do it once."""
        return self._call() if self._observed.is_direct else self._recorded.run()
