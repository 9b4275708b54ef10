"""What long work reports while it runs; who shows it, and how, is the caller's choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far one stage has come.

    `done` and `total` count `unit`s ("B", "tensors", "files", "steps"); a `total` of 0 means that
    the stage cannot tell. A stage is over when the next one begins or when `done` is `total`.
    """

    stage: str
    done: int
    total: int
    unit: str


ProgressCallback = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Take a report and do nothing: the default of everything that reports."""
