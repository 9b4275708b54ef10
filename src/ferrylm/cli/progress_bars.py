"""Draw the progress of long work as one bar per stage."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from ferrylm.cli.units import binary_size

if TYPE_CHECKING:
    from rich.console import Console

    from ferrylm.runtime.progress import Progress


class ProgressBars:
    """A context manager whose `report` is a progress callback."""

    def __init__(self, console: Console) -> None:
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,  # what is done is said in one line at the end
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def report(self, progress: Progress) -> None:
        """Show one report; a new stage gets a new bar and completes the one before it."""
        self._progress.start()  # only now: work that reports nothing leaves the screen alone
        total = progress.total or None
        if progress.stage not in self._tasks:
            self._finish_all()
            self._tasks[progress.stage] = self._progress.add_task(
                progress.stage, total=total, count=""
            )
        self._progress.update(
            self._tasks[progress.stage],
            completed=progress.done,
            total=total,
            count=count_text(progress),
        )

    def _finish_all(self) -> None:
        for task in self._progress.tasks:
            if not task.finished:
                done = task.total if task.total is not None else max(task.completed, 1)
                self._progress.update(task.id, total=done, completed=done)


def count_text(progress: Progress) -> str:
    """Return "3/30 layers", or sizes where the unit is bytes."""
    if progress.unit in ("B", "bytes"):
        done, total = binary_size(progress.done), binary_size(progress.total)
    else:
        done, total = str(progress.done), f"{progress.total} {progress.unit}"
    return f"{done}/{total}" if progress.total else (done if progress.done else "")
