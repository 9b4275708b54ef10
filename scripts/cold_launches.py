"""Times launches of one kernel on a GPU, each with weights that no cache holds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

COLD_BYTES = 512 << 20  # eight times the largest cache of an NVIDIA GPU
_MOST_COPIES, _MOST_TURNS = 1024, 32


def cold_copies(backend: Any, tensors: list[Any], size_bytes: int, cold_bytes: int) -> list[Any]:
    """Return the tensors and copies of them on the device, `cold_bytes` in all at least."""
    copies = [tensors]
    while len(copies) < min(_MOST_COPIES, -(-cold_bytes // size_bytes)):
        copied = [backend.empty(tuple(int(n) for n in t.shape), str(t.dtype)) for t in tensors]
        for source, target in zip(tensors, copied, strict=True):
            source.copyto(target)
        copies.append(copied)
    backend.synchronize()
    return copies


def microseconds(
    backend: Any, launch: Callable[[list[Any]], Any], copies: list[Any], repetitions: int
) -> float:
    """Return the median time of a launch: on CUDA from one to the next in a graph of many."""

    def once() -> Any:
        for tensors in copies:
            result = launch(tensors)
        return result

    if backend.kind != "cuda":
        launches = [found for _ in range(repetitions) for found in backend.profile(once)]
        return 1e3 * float(statistics.median(float(found["milliseconds"]) for found in launches))
    turns = max(1, min(_MOST_TURNS, _MOST_COPIES // len(copies)))

    def all_turns() -> Any:
        for _ in range(turns):
            result = once()
        return result

    times = backend.replayed_milliseconds(all_turns, repetitions)
    return 1e3 * float(statistics.median(times)) / (turns * len(copies))
