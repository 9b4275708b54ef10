"""Drawing ahead without a device: what is launched, how far, for whom, and what failures leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ferrylm.errors import ContextOverflowError, DeviceError, UsageError
from ferrylm.runtime import ahead
from ferrylm.runtime.ahead import MOST_TOKENS_AHEAD, STEPS_AHEAD, Ahead
from ferrylm.runtime.draw_group import Drawing
from ferrylm.runtime.draw_layout import REPORT
from ferrylm.runtime.draw_slots import AnswerDraws, greedy_draws
from ferrylm.runtime.kv_pages import PagePool, Sequence

PAGE = 4


class Slots:
    """Counts what is open, and that numbers are there before their draw."""

    def __init__(self) -> None:
        self.free = [3, 2, 1, 0]

    def open(self, _draws: AnswerDraws) -> int:
        return self.free.pop()

    def make_ready(self, slot: int, draws: int) -> None:
        assert slot not in self.free
        assert draws >= 0

    def close(self, slot: int) -> None:
        self.free.append(slot)


class Landing:
    def __init__(self, device: Device, rows: list[Drawing], positions: list[int]) -> None:
        self.device, self.rows, self.positions = device, rows, positions

    def is_over(self) -> bool:
        return self.device.is_idle

    def land(self) -> None:
        self.device.landed += 1
        if self.device.landed == self.device.fails_at:
            raise DeviceError("a step", wanted="another", fix="none")
        for drawing, position in zip(self.rows, self.positions, strict=True):
            report = np.zeros(REPORT, np.int32)
            report[0] = position + 1  # the token says where it will be
            drawing.reports.append(report)
            drawing.next_id = position + 1


class Device:
    """Groups that launch nothing but check what they are asked for."""

    def __init__(self) -> None:
        self.launched: list[int] = []  # rows of each step
        self.landed, self.fails_at = 0, -1
        self.is_idle = False

    def launch(self, rows: list[Drawing], width: int) -> Landing:
        positions = [drawing.position for drawing in rows]
        for drawing, position in zip(rows, positions, strict=True):
            assert position < len(drawing.sequence.pages) * PAGE, "a token without a page"
            assert len(drawing.sequence.pages) <= width
            drawing.place = (self, 0)  # type: ignore[assignment]
            drawing.launched += 1
        self.launched.append(len(rows))
        return Landing(self, rows, positions)

    @property
    def in_flight(self) -> int:
        return len(self.launched) - self.landed


class Bench:
    """An Ahead on all of this."""

    def __init__(self, context: int = 64) -> None:
        self.device, self.slots = Device(), Slots()
        self.pool = PagePool(PAGE, context, 4, lambda first, count: None)
        anything: Any = self.slots
        group: Any = self.device
        self.ahead = Ahead(anything, self.pool, 2, lambda: group)

    def open(self, tokens: int, most: int = 50) -> Sequence:
        sequence = self.pool.open_sequence()
        self.pool.reserve(sequence, tokens)
        sequence.length = tokens
        self.ahead.begin(sequence, greedy_draws(7, most))
        return sequence

    def tokens(self, *sequences: Sequence) -> list[int]:
        return [int(report[0]) for report in self.ahead.next_reports(list(sequences))]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(ahead, "SLOW_STEP_S", 60.0)
    found = Bench()
    yield found
    assert found.device.in_flight <= 3 * STEPS_AHEAD


def test_tokens_come_in_order_with_a_bounded_number_of_steps_ahead(bench: Bench) -> None:
    sequence = bench.open(3, most=20)
    for position in range(3, 23):
        assert bench.tokens(sequence) == [position + 1]
        assert bench.device.in_flight <= STEPS_AHEAD
        assert sequence.length == position + 1
    assert bench.device.launched == [1] * 20, "none beyond what was asked for"
    with pytest.raises(UsageError, match="draws no token"):
        bench.tokens(sequence)


def test_slow_steps_are_launched_less_far_ahead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "SLOW_STEP_S", 0.0)
    sequence = bench.open(3)
    bench.tokens(sequence)
    for _ in range(10):
        bench.tokens(sequence)
        assert bench.device.in_flight == 2


def test_an_answer_ends_with_its_context(bench: Bench) -> None:
    sequence = bench.open(60, most=50)
    assert [bench.tokens(sequence)[0] for _ in range(4)] == [61, 62, 63, 64]
    with pytest.raises(ContextOverflowError):
        bench.tokens(sequence)
    assert len(bench.device.launched) == 4


def test_sequences_beyond_one_step_take_another_one_and_join_and_leave_at_any_time(
    bench: Bench,
) -> None:
    first, second = bench.open(3), bench.open(9)
    assert bench.tokens(first, second) == [4, 10]
    third = bench.open(20)
    assert bench.tokens(first, second, third) == [5, 11, 21]
    assert bench.tokens(second, third) == [12, 22]
    bench.ahead.leave(first)
    bench.pool.close_sequence(first)
    assert [bench.tokens(second, third) for _ in range(3)] == [[13, 23], [14, 24], [15, 25]]
    assert max(bench.device.launched) == 2


def test_who_is_not_read_rests_after_some_tokens_and_goes_on_where_it_was(bench: Bench) -> None:
    read, waiting = bench.open(3), bench.open(3)
    for position in range(3, 33):
        assert bench.tokens(read) == [position + 1]
    launched = bench.ahead._drawings[id(waiting)].launched
    assert launched <= MOST_TOKENS_AHEAD
    assert waiting.length == 3
    assert [bench.tokens(waiting)[0] for _ in range(30)] == list(range(4, 34))


def test_leaving_gives_back_slot_and_pages_beyond_what_was_read(bench: Bench) -> None:
    sequence = bench.open(3)
    for _ in range(6):
        bench.tokens(sequence)
    assert sequence.length == 9
    assert len(sequence.pages) > 3
    bench.ahead.leave(sequence)
    assert len(sequence.pages) == 3
    assert sorted(bench.slots.free) == [0, 1, 2, 3]
    bench.ahead.leave(sequence)
    bench.pool.close_sequence(sequence)
    assert bench.pool.free_pages == bench.pool.pages


def test_a_step_that_fails_costs_those_whose_tokens_were_under_way(bench: Bench) -> None:
    sequence = bench.open(3)
    bench.tokens(sequence)
    bench.device.fails_at = bench.device.landed + 2
    bench.tokens(sequence)
    with pytest.raises(DeviceError, match="a step"):
        bench.tokens(sequence)
    with pytest.raises(DeviceError, match="lost"):
        bench.tokens(sequence)
    assert sequence.length == 5, "what was read stays"
    other = bench.open(10)
    assert [bench.tokens(other)[0] for _ in range(5)] == [11, 12, 13, 14, 15]
    bench.ahead.leave(sequence)
    bench.ahead.begin(sequence, greedy_draws(5, 10))
    assert bench.tokens(sequence) == [6]


def test_steps_that_come_late_are_counted(bench: Bench) -> None:
    sequence = bench.open(3)
    for _ in range(5):
        bench.tokens(sequence)
    assert bench.ahead.statistics.starved == 0
    bench.device.is_idle = True
    bench.tokens(sequence)
    assert bench.ahead.statistics.starved == 1
    assert bench.ahead.statistics.steps == len(bench.device.launched)
    assert bench.ahead.statistics.waited_s > 0
