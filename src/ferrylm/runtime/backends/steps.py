"""Steps that are made again and again: by their call, or by a recording of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ferrylm.runtime.backends.base import Step, Tensor

RECORDING = "FERRY_RECORDING"  # "off" runs every step kernel by kernel, to find faults

# Runs a call once and returns what replays it; and runs that once more.
Record = Callable[[Callable[[], Tensor]], tuple[Any, Tensor]]
Replay = Callable[[Any], object]


class DirectStep:
    """A step that makes its call each time."""

    def __init__(self, call: Callable[[], Tensor]) -> None:
        self._call = call

    def run(self) -> Tensor:
        """Make the call."""
        return self._call()

    def prepare(self) -> None:
        """Do nothing: there is nothing to be recorded."""


class RecordedStep:
    """A step that the device keeps at its first run and replays after.

    The recording holds on to all memory that its kernels touch, the result's among it.
    """

    def __init__(self, call: Callable[[], Tensor], record: Record, replay: Replay) -> None:
        self._call, self._record, self._replay = call, record, replay
        self._recorded: tuple[Any, Tensor] | None = None

    def run(self) -> Tensor:
        """Record and run the call, or run it again."""
        if self._recorded is None:
            self._recorded = self._record(self._call)
        else:
            self._replay(self._recorded[0])
        return self._recorded[1]

    def prepare(self) -> None:
        """Record the call, which runs it, unless that was done."""
        if self._recorded is None:
            self._recorded = self._record(self._call)


def repeated_step(call: Callable[[], Tensor], record: Record, replay: Replay) -> Step:
    """Return a step that is recorded, unless the environment forbids it."""
    if os.environ.get(RECORDING) == "off":
        return DirectStep(call)
    return RecordedStep(call, record, replay)
