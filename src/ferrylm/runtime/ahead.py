"""Drawing on the device, ahead of the host: steps are launched before the last ones were read.

The device feeds each token back itself and never waits for Python. The host reads tokens some
steps behind; whatever a sequence draws beyond its end is thrown away.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ferrylm.errors import DeviceError, UsageError
from ferrylm.runtime.backends.base import Array
from ferrylm.runtime.draw_group import DrawGroup, Drawing, Flight
from ferrylm.runtime.draw_layout import RING
from ferrylm.runtime.draw_slots import AnswerDraws, DrawSlots
from ferrylm.runtime.kv_pages import PagePool
from ferrylm.runtime.kv_pages import Sequence as Pages

STEPS_AHEAD = 4
# Where a step takes long the host has time enough, and what is thrown away costs more.
STEPS_AHEAD_WHEN_SLOW = 2
SLOW_STEP_S = 0.004
# A sequence that nobody reads, while others go on beside it, rests from here on.
MOST_TOKENS_AHEAD = 12
PAGES_AHEAD_TOKENS = 64  # pages are taken for so many at once: tables change seldom

assert STEPS_AHEAD < RING, "reports stay in the ring until they were read"


@dataclass
class AheadStatistics:
    """How host and device got on with each other.

    steps: launched. waited_s: time the host waited for tokens. starved: steps before whose launch
    the device had nothing left to do.
    """

    steps: int = 0
    waited_s: float = 0.0
    starved: int = 0


class Ahead:
    """The sequences whose tokens the device draws."""

    def __init__(
        self, slots: DrawSlots, pool: PagePool, batch: int, new_group: Callable[[], DrawGroup]
    ) -> None:
        """`batch` is the most sequences of one step."""
        self._slots, self._pool, self._batch, self._new_group = slots, pool, batch, new_group
        self._groups: list[DrawGroup] = []
        self._drawings: dict[int, Drawing] = {}  # by the sequence's id()
        self._running: list[Drawing] = []  # those with a row, the oldest first
        self._flights: deque[Flight] = deque()
        self._landed_at, self._pace_s = 0.0, 0.0
        self.statistics = AheadStatistics()

    def begin(self, sequence: Pages, draws: AnswerDraws) -> None:
        """Let the device draw a sequence's tokens from now on."""
        self._pool.check(sequence, 1)
        self.leave(sequence)
        slot = self._slots.open(draws)
        most = min(draws.most, self._pool.context - sequence.length)
        self._drawings[id(sequence)] = Drawing(
            sequence, slot, most, draws.last_id, sequence.length
        )  # fmt: skip

    def leave(self, sequence: Pages) -> None:
        """End the drawing of a sequence, which is then as if only what was read had been drawn."""
        drawing = self._drawings.pop(id(sequence), None)
        if drawing is None:
            return
        if drawing in self._running:
            self._running.remove(drawing)
        self._slots.close(drawing.slot)
        self._pool.give_back_unused(sequence)

    def next_reports(self, sequences: Sequence[Pages]) -> list[Array]:
        """Return the report of the next token of each sequence (draw_layout.py)."""
        wanted = [self._drawing(sequence) for sequence in sequences]
        try:
            while not all(drawing.reports for drawing in wanted):
                self._launch_ahead()
                self._land()
            self._launch_ahead()
        except BaseException:
            self._abandon()
            raise
        for sequence in sequences:
            sequence.length += 1
        return [drawing.reports.popleft() for drawing in wanted]

    def _drawing(self, sequence: Pages) -> Drawing:
        self._pool.check(sequence, 1)
        drawing = self._drawings.get(id(sequence))
        if drawing is None or (drawing.ahead == 0 and drawing.launched == drawing.most):
            raise UsageError(
                "a sequence that the device draws no token for",
                wanted="one that has tokens left to be drawn",
                fix="begin to draw for it, for more tokens",
            )
        if drawing.lost:
            raise DeviceError(
                "a sequence with a token that was lost when a step failed",
                wanted="one whose tokens all arrived",
                fix="begin the answer again",
            )
        return drawing

    def _abandon(self) -> None:
        """Forget the steps that are under way; who waits for their tokens has lost them."""
        self._flights.clear()
        self._running.clear()
        for drawing in self._drawings.values():
            drawing.place = None
            drawing.lost = len(drawing.reports) < drawing.ahead

    def _launch_ahead(self) -> None:
        slow = self._pace_s > SLOW_STEP_S
        limit = STEPS_AHEAD_WHEN_SLOW if slow else STEPS_AHEAD
        while len(self._flights) < limit * max(1, len(self._parts())):
            self._choose_running()
            if not self._running:
                return
            if self._flights:
                self.statistics.starved += self._flights[-1].is_over()
            for index, rows in enumerate(self._parts()):
                if index == len(self._groups):
                    self._groups.append(self._new_group())
                self._flights.append(self._launch(self._groups[index], rows))
            self.statistics.steps += 1

    def _parts(self) -> list[list[Drawing]]:
        starts = range(0, len(self._running), self._batch)
        return [self._running[start : start + self._batch] for start in starts]

    def _choose_running(self) -> None:
        """Drop who has drawn enough for now; let those run that may, at the end of the rows."""
        stay = [
            drawing
            for drawing in self._running
            if drawing.launched < drawing.most and drawing.ahead < MOST_TOKENS_AHEAD
        ]
        for drawing in self._running:
            if drawing not in stay:
                drawing.place = None
        self._running = stay
        self._running += [each for each in self._rested() if each not in stay]

    def _rested(self) -> Iterator[Drawing]:
        for drawing in self._drawings.values():
            landed = len(drawing.reports) == drawing.ahead and not drawing.lost
            if landed and drawing.ahead <= STEPS_AHEAD and drawing.launched < drawing.most:
                yield drawing

    def _launch(self, group: DrawGroup, rows: list[Drawing]) -> Flight:
        for drawing in rows:
            self._slots.make_ready(drawing.slot, drawing.launched)
            held = len(drawing.sequence.pages) * self._pool.page_size
            if drawing.position >= held:
                more = min(PAGES_AHEAD_TOKENS, drawing.most - drawing.launched)
                self._pool.reserve(drawing.sequence, drawing.ahead + more)
        width = self._pool.table_width([drawing.sequence for drawing in rows])
        return group.launch(rows, width)

    def _land(self) -> None:
        began = time.perf_counter()
        self._flights.popleft().land()
        now = time.perf_counter()
        self.statistics.waited_s += now - began
        self._pace_s, self._landed_at = now - self._landed_at, now
