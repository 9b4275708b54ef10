"""Time every kernel launch of a step at the model's real shapes.

On a processor the virtual machine's hook reads the clock around every call. Vulkan is asked for its
own times through `Backend.profile`. On an NVIDIA GPU a launch gets the mean of those of its kind
(kernel_sequences.py).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ferrylm.errors import DeviceError
from ferrylm.runtime.engine import Engine
from ferrylm.runtime.kernel_sequences import (
    KeptCall,
    ReplayingBackend,
    copy_of,
    sequence_milliseconds,
)
from ferrylm.runtime.kernel_traffic import Argument, StepShape, Tables, Traffic, traffic_of
from ferrylm.runtime.kv_pages import Sequence
from ferrylm.runtime.observed_backend import ObservedBackend

_KEEP_RUNNING = 0  # VMInstrumentReturnKind::kNoOp
# What the virtual machine calls besides kernels: its own functions, and those on sizes.
_NOT_KERNELS = ("vm.builtin.", "shape_func", "compute_symbolic_expr")

Clock = Callable[[], int]


@dataclass(frozen=True)
class Launch:
    """One kernel launch: what it does at least, and its time, the median of the repetitions."""

    name: str
    traffic: Traffic
    milliseconds: float


@dataclass(frozen=True)
class StepTimes:
    """The launches of a step in their order."""

    name: str
    shape: StepShape
    launches: tuple[Launch, ...]
    step_milliseconds: float  # the whole step as the engine makes it, with nobody watching
    repetitions: int


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: tuple[Argument, ...]
    milliseconds: float = 0.0


@dataclass(frozen=True)
class _Sample:
    """One repetition: what was called, and how long each call's kernels took."""

    calls: tuple[_Call, ...]
    milliseconds: tuple[float, ...]


class KernelTimer:
    """Times steps of an engine that runs on an `ObservedBackend`."""

    def __init__(
        self,
        engine: Engine,
        backend: ObservedBackend,
        tables: Tables,
        *,
        streamed: frozenset[Argument] = frozenset(),
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        """Take an engine; `streamed` are weights and pages, which no cache holds in a step."""
        self._engine, self._backend, self._tables, self._clock = engine, backend, tables, clock
        self._streamed = streamed

    def decode(self, batch: int, depth: int, repetitions: int) -> StepTimes:
        """Time a decode step of `batch` sequences of `depth` tokens. Raises DeviceError."""
        shape = StepShape(batch, 1, depth)
        ids = np.arange(batch, dtype=np.int32) % self._engine.vocab_size
        sequences = self._sequences(shape)
        try:
            return self._step(
                f"decode, batch {batch}, depth {depth}",
                shape,
                repetitions,
                lambda: self._engine.decode(sequences, ids),
                sequences,
            )
        finally:
            self._close(sequences)

    def prefill(self, tokens: int, depth: int, repetitions: int) -> StepTimes:
        """Time one chunk of a prompt behind `depth` tokens. Raises DeviceError."""
        shape = StepShape(1, tokens, depth)
        ids = _random_ids(tokens, self._engine.vocab_size)
        sequences = self._sequences(shape)
        try:
            return self._step(
                f"prefill, {tokens} tokens, depth {depth}",
                shape,
                repetitions,
                lambda: self._engine.prefill(sequences[0], ids),
                sequences,
            )
        finally:
            self._close(sequences)

    def _sequences(self, shape: StepShape) -> list[Sequence]:
        sequences = [self._engine.open_sequence() for _ in range(shape.sequences)]
        if shape.depth:
            for sequence in sequences:
                self._engine.prefill(sequence, _random_ids(shape.depth, self._engine.vocab_size))
        return sequences

    def _close(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            self._engine.close_sequence(sequence)

    def _step(
        self,
        name: str,
        shape: StepShape,
        repetitions: int,
        make: Callable[[], object],
        sequences: list[Sequence],
    ) -> StepTimes:
        def step() -> None:
            make()
            for sequence in sequences:  # every repetition at the same depth
                sequence.length = shape.depth

        step()
        step_ms = statistics.median(self._whole(step) for _ in range(max(3, repetitions)))
        with self._backend.direct():
            step()  # warm as the others, and without the hook
        if self._backend.kind == "cuda":
            samples = self._in_sequence(step, shape, repetitions)
        else:
            samples = [self._sample(step) for _ in range(repetitions)]
        return StepTimes(name, shape, self._launches(samples, shape), step_ms, repetitions)

    def _whole(self, step: Callable[[], None]) -> float:
        start = self._clock()
        step()
        return (self._clock() - start) / 1e6

    def _sample(self, step: Callable[[], None]) -> _Sample:
        if self._backend.kind == "cpu":
            calls = self._watched(step)
            return _Sample(tuple(calls), tuple(call.milliseconds for call in calls))
        calls = self._watched(step)
        with self._backend.direct():
            found = self._backend.profile(step)
        if not found:
            raise DeviceError(
                f"a {self._backend.kind} device whose driver is not asked for the times of kernels",
                wanted="the cpu, a vulkan or a cuda device",
                fix="measure whole steps with ferry bench, or kernels with the maker's profiler",
            )
        return _device_sample(calls, found)

    def _in_sequence(
        self, step: Callable[[], None], shape: StepShape, repetitions: int
    ) -> list[_Sample]:
        """Return samples in which every launch of a kernel has the same time."""
        device = cast(ReplayingBackend, self._backend.below)
        kept: list[KeptCall] = []

        def keep(function: Any, given: tuple[Any, ...]) -> None:
            whole = [value for value in given if str(getattr(value, "dtype", "")) == "int32"]
            integers = tuple((value, copy_of(device, value)) for value in whole)
            kept.append(KeptCall(function, given, 0, integers))

        calls = self._watched(step, keep)
        kinds: dict[str, list[KeptCall]] = {}
        for call, again in zip(calls, kept, strict=True):
            moved = traffic_of(call.name, call.arguments, shape, self._tables).bytes_moved
            kinds.setdefault(call.name, []).append(replace(again, bytes_moved=moved))
        with self._backend.calling():
            times = {
                name: sequence_milliseconds(device, kind, self._is_streamed, repetitions)
                for name, kind in kinds.items()
            }
        return [
            _Sample(tuple(calls), tuple(times[call.name][turn] for call in calls))
            for turn in range(repetitions)
        ]

    def _is_streamed(self, value: Any) -> bool:
        return any(argument in self._streamed for argument in _arguments((value,)))

    def _watched(
        self, step: Callable[[], None], keep: Callable[[Any, tuple[Any, ...]], None] | None = None
    ) -> list[_Call]:
        """Return the kernels that a step calls, with times of the host's clock.

        `keep` is told of each before it runs: its function and what it is given.
        """
        calls: list[_Call] = []
        started = [0]
        clock = self._clock

        def note(function: Any, name: str, before: bool, _result: Any, *given: Any) -> int:
            now = clock()
            if not name.startswith(_NOT_KERNELS):
                if before:
                    if keep is not None:
                        keep(function, given)
                    calls.append(_Call(name, _arguments(given)))
                    started[0] = clock()  # the last thing done before the kernel
                else:
                    passed_ms = (now - started[0]) / 1e6
                    calls[-1] = replace(calls[-1], milliseconds=passed_ms)
            return _KEEP_RUNNING

        with self._backend.direct(), self._backend.instrumented(note):
            step()
        return calls

    def _launches(self, samples: list[_Sample], shape: StepShape) -> tuple[Launch, ...]:
        first = samples[0]
        if any(len(sample.calls) != len(first.calls) for sample in samples):
            raise DeviceError(
                "a step that launches other kernels each time",
                wanted="the same launches in every repetition",
                fix="report this as a defect of ferry",
            )
        return tuple(
            Launch(
                call.name,
                traffic_of(call.name, call.arguments, shape, self._tables),
                statistics.median(sample.milliseconds[index] for sample in samples),
            )
            for index, call in enumerate(first.calls)
        )


def _device_sample(calls: list[_Call], found: list[dict[str, object]]) -> _Sample:
    """Give each launch of the device its call: both come in the order of the step.

    A function's kernels are named after it (NAME, NAME_kernel, NAME_kernel_1); one that launches
    several stands for their sum.
    """
    milliseconds = [0.0] * len(calls)
    at, seen = -1, set[str]()
    for launch in found:
        kernel, time_ms = str(launch["kernel"]), float(str(launch["milliseconds"]))
        if kernel.startswith(_NOT_KERNELS):
            continue
        if at < 0 or kernel in seen or not _is_kernel_of(kernel, calls[at].name):
            at, seen = at + 1, set()
        while at < len(calls) and not _is_kernel_of(kernel, calls[at].name):
            at += 1
        if at == len(calls):
            raise DeviceError(
                f"the launch of {kernel}, which no function of the step calls",
                wanted="launches in the order of the step",
                fix="report this as a defect of ferry",
            )
        milliseconds[at] += time_ms
        seen.add(kernel)
    return _Sample(tuple(calls), tuple(milliseconds))


def _is_kernel_of(kernel: str, function: str) -> bool:
    rest = kernel.removeprefix(function)
    return kernel.startswith(function) and (rest == "" or rest.startswith("_kernel"))


def _arguments(given: tuple[Any, ...]) -> tuple[Argument, ...]:
    return tuple(
        Argument(str(value.dtype), tuple(int(size) for size in value.shape))
        for value in given
        if hasattr(value, "shape") and hasattr(value, "dtype")
    )


def _random_ids(count: int, vocabulary: int) -> Any:
    return np.random.default_rng(0).integers(0, vocabulary, count).astype(np.int32)
