"""Up to as many sequences as one generate_B takes, decoded and drawn together, step after step.

Rows stay where they are from one step to the next, because the device itself writes their next
tokens and positions. What the host writes takes its place among the steps in the device's order,
so nothing ever waits: a row that leaves becomes padding, one that moves has its token copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ferrylm.runtime.backends.base import Array, DrawingBackend, Outbox, Step, Tensor
from ferrylm.runtime.draw_layout import REPORT, RING, Report
from ferrylm.runtime.kv_pages import Sequence as Pages

# (batch, tokens, positions, tables, slots, steps, ring) -> the call of generate_B on them
MakeCall = Callable[[int, Sequence[Tensor]], Callable[[], Tensor]]


@dataclass(eq=False)
class Drawing:
    """One sequence whose tokens the device draws."""

    sequence: Pages
    slot: int
    most: int  # tokens to be drawn at most
    next_id: int  # the last token that the host knows of; decoded next when it gets a row
    start: int  # tokens in the sequence at the beginning
    launched: int = 0  # steps
    lost: bool = False  # a token of it will never arrive
    reports: deque[Array] = field(default_factory=deque)  # drawn tokens that nobody asked for yet
    place: tuple[DrawGroup, int] | None = None

    @property
    def ahead(self) -> int:
        """Return how many tokens were drawn, or are about to be, that nobody asked for yet."""
        return self.launched - (self.sequence.length - self.start)

    @property
    def position(self) -> int:
        """Return where the next step puts its token."""
        return self.start + self.launched


@dataclass(frozen=True)
class Flight:
    """A step that was launched, and whose rows it has."""

    outbox: Outbox
    entry: int
    rows: tuple[Drawing, ...]

    def is_over(self) -> bool:
        """Say whether the device is known to have finished it."""
        return self.outbox.is_there(self.entry)

    def land(self) -> None:
        """Wait for the step and hand out its reports."""
        reports = self.outbox.take(self.entry).reshape(-1, REPORT)
        for drawing, report in zip(self.rows, reports, strict=False):
            drawing.reports.append(report)
            drawing.next_id = int(report[Report.TOKEN])


class DrawGroup:
    """The inputs of steps, at fixed addresses, and the recordings of those."""

    def __init__(
        self, backend: DrawingBackend, batches: tuple[int, ...], tile: int, most_pages: int,
        make_call: MakeCall,
    ) -> None:  # fmt: skip
        """`tile` is the library's; tables have up to `most_pages` pages for each sequence."""
        self._backend, self._batches, self._tile = backend, batches, tile
        self._make_call = make_call
        most = batches[-1]
        self._tokens = backend.mirror(most)  # the device's, once they are tokens
        self._tokens.shaped((most,))[0][...] = 0
        self._tokens.push()
        self._positions, self._slots, self._steps = (backend.mirror(most) for _ in range(3))
        self._tables = backend.mirror(most * most_pages)
        self._outboxes: dict[int, Outbox] = {}
        self._recorded: dict[tuple[int, int], Step] = {}
        self._count = 0  # of steps
        self._rows: tuple[Drawing, ...] = ()
        self._shape = (0, 0)  # batch and width of the inputs as they are on the device
        self._pages: tuple[int, ...] = ()

    def launch(self, rows: Sequence[Drawing], width: int) -> Flight:
        """Make one step of these rows, whose pages are there, with tables of this width."""
        batch = next(size for size in self._batches if size >= len(rows))
        step = self._recorded.get((batch, width))
        if step is None:
            step = self._record(batch, width)
        self._bring(tuple(rows), batch, width)
        entry, outbox = self._count % RING, self._outboxes[batch]
        try:
            step.run()
            outbox.post(entry)
        except BaseException:
            self._shape = (0, 0)  # nobody knows what the device has now
            raise
        self._count += 1
        for drawing in rows:
            drawing.launched += 1
        return Flight(outbox, entry, tuple(rows))

    def take_token(self, row: int, source: tuple[DrawGroup, int]) -> None:
        """Copy the next token of another row into this one, in the order of the steps."""
        group, other = source
        self._backend.copy(group.all_tokens, other, self.all_tokens, row, 1)

    @property
    def all_tokens(self) -> Tensor:
        """Return the next tokens of all rows: int32 (most,)."""
        return self._tokens.shaped((self._batches[-1],))[1]

    def _bring(self, rows: tuple[Drawing, ...], batch: int, width: int) -> None:
        """Have the device's inputs be those of these rows."""
        pages = tuple(len(drawing.sequence.pages) for drawing in rows)
        moved = rows != self._rows or self._shape[0] != batch
        if moved:
            self._seat(rows, batch)
        if moved or self._shape != (batch, width) or pages != self._pages:
            tables, _ = self._tables.shaped((batch, width))
            tables[...] = 0
            for row, drawing in enumerate(rows):
                tables[row, : len(drawing.sequence.pages)] = drawing.sequence.pages
            self._tables.push()
        self._rows, self._shape, self._pages = rows, (batch, width), pages

    def _seat(self, rows: tuple[Drawing, ...], batch: int) -> None:
        """Give each sequence its row. Those that were here before never move up."""
        for row, drawing in enumerate(rows):
            place = (self, row)
            if drawing.place is None:
                self._backend.write(self.all_tokens, row, np.array([drawing.next_id], np.int32))
            elif drawing.place != place:
                self.take_token(row, drawing.place)
            drawing.place = place
        self._set(
            batch,
            [drawing.position for drawing in rows],
            [drawing.slot for drawing in rows],
        )

    def _set(self, batch: int, positions: Sequence[int], slots: Sequence[int]) -> None:
        for mirror, values in ((self._positions, positions), (self._slots, slots)):
            numbers, _ = mirror.shaped((batch,))
            numbers[...] = -1
            numbers[: len(values)] = values
            mirror.push()
        self._steps.shaped((batch,))[0][...] = self._count
        self._steps.push()

    def _record(self, batch: int, width: int) -> Step:
        """Return a step that is recorded; rows of padding do nothing while it is."""
        if batch not in self._outboxes:
            self._outboxes[batch] = self._backend.outbox(RING, batch * REPORT)
        ring = self._outboxes[batch].tensor._create_view((RING, batch, REPORT))
        tile = min(batch, self._tile)
        tokens = self._tokens.shaped((batch // tile, tile))[1]
        tables, device_tables = self._tables.shaped((batch, width))
        tables[...] = 0
        self._tables.push()
        self._shape = (0, 0)
        self._set(batch, (), ())
        positions, slots, steps = (
            mirror.shaped((batch,))[1] for mirror in (self._positions, self._slots, self._steps)
        )
        tensors = (tokens, positions, device_tables, slots, steps, ring)
        step = self._backend.repeated(self._make_call(batch, tensors))
        step.prepare()
        self._recorded[batch, width] = step
        return step
