"""Time a kernel of an NVIDIA GPU among launches of its own kind, as a replayed step runs it.

An event between two kernels costs as much as a small kernel and keeps the second from starting
early, so a kernel that is timed alone seems slower than it is. Here all launches of a kernel in a
step, one for each layer, are captured as one graph again and again, and a replay is timed: what
counts is the time from one launch to the next, the gap between them included.

Weights and pages are in no cache when a step comes to them. So that they are not here either, the
launches take turns with copies of them, until what is read between two uses of a byte is more than
COLD_BYTES. Activations come from the cache, as in a step. After the step their memory may hold
something else, which changes no time; whole numbers (positions, pages, counters that workgroups
wait on) are put back to what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ferrylm.runtime.backends.base import Tensor
from ferrylm.runtime.device_tensors import array_bytes

COLD_BYTES = 512 << 20  # eight times the largest cache of an NVIDIA GPU
_MOST_COPIED_BYTES = 2 << 30
_MOST_SETS = 256
_REPLAY_MILLISECONDS = 4.0  # of which the launch of a graph is less than a hundredth
_MOST_LAUNCHES = 8192


@dataclass(frozen=True)
class KeptCall:
    """One call of a kernel's function, to be made again; `bytes_moved` by it at least.

    `integers` are those of its arguments that hold whole numbers, each with a copy from before it.
    """

    function: Callable[..., object]
    arguments: tuple[Any, ...]
    bytes_moved: int
    integers: tuple[tuple[Tensor, Tensor], ...] = field(default=())

    def restore(self) -> None:
        """Put the whole numbers back."""
        for tensor, copy in self.integers:
            copy.copyto(tensor)

    def run(self) -> None:
        """Make it."""
        self.function(*self.arguments)


class ReplayingBackend(Protocol):
    """What is asked of the device."""

    def replayed_milliseconds(self, call: Callable[[], Tensor], repetitions: int) -> list[float]:
        """Capture a call, replay it so often and return each time."""

    def empty(self, shape: Sequence[int], dtype: str) -> Tensor:
        """Return a tensor that holds anything."""

    def free_bytes(self) -> int:
        """Return the device memory that nobody holds."""


def sequence_milliseconds(
    backend: ReplayingBackend,
    calls: Sequence[KeptCall],
    is_streamed: Callable[[Any], bool],
    repetitions: int,
) -> list[float]:
    """Return the time of one of these launches, as many times as asked for.

    `is_streamed` says which arguments no cache holds in a step. Raises DeviceError,
    MemoryLimitError.
    """
    for call in calls:
        call.restore()
    sets = _sets(backend, calls, is_streamed)
    launches = sum(len(one) for one in sets)

    def once() -> None:
        for one in sets:
            for call in one:
                call.run()

    first = backend.replayed_milliseconds(once, 1)[0]
    turns = max(1, min(round(_REPLAY_MILLISECONDS / max(first, 1e-6)), _MOST_LAUNCHES // launches))

    def all_turns() -> None:
        for _ in range(turns):
            once()

    found = backend.replayed_milliseconds(all_turns, repetitions)
    return [passed / (turns * launches) for passed in found]


def _sets(
    backend: ReplayingBackend, calls: Sequence[KeptCall], is_streamed: Callable[[Any], bool]
) -> list[list[KeptCall]]:
    """Return the calls, and so many copies of them that no cache holds what they read."""
    streamed = {
        id(argument): argument
        for call in calls
        for argument in call.arguments
        if is_streamed(argument)
    }
    size_bytes = sum(_bytes(tensor) for tensor in streamed.values())
    wanted = -(-COLD_BYTES // max(1, sum(call.bytes_moved for call in calls)))
    affordable = min(_MOST_COPIED_BYTES, backend.free_bytes() // 4) // max(1, size_bytes)
    copies = min(wanted - 1, affordable, _MOST_SETS - 1) if streamed else 0
    return [list(calls), *(_copied(backend, calls, streamed) for _ in range(copies))]


def copy_of(backend: ReplayingBackend, tensor: Tensor) -> Tensor:
    """Return a copy on the device."""
    copy = backend.empty(tuple(int(size) for size in tensor.shape), str(tensor.dtype))
    tensor.copyto(copy)
    return copy


def _copied(
    backend: ReplayingBackend, calls: Sequence[KeptCall], streamed: dict[int, Any]
) -> list[KeptCall]:
    copies = {key: copy_of(backend, tensor) for key, tensor in streamed.items()}
    return [
        KeptCall(
            call.function,
            tuple(copies.get(id(argument), argument) for argument in call.arguments),
            call.bytes_moved,
        )
        for call in calls
    ]


def _bytes(tensor: Any) -> int:
    return array_bytes(tuple(int(size) for size in tensor.shape), str(tensor.dtype))
