from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrylm.errors import ContextOverflowError, UsageError
from ferrylm.runtime.kv_pages import PagePool, Sequence


def pool(sequences: int = 3, context: int = 100, page_size: int = 32) -> PagePool:
    return PagePool(page_size, context, sequences, lambda *pages: cleared.append(pages))


cleared: list[tuple[int, int]] = []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=40))
def test_no_page_is_ever_lost_or_held_twice(actions: list[tuple[int, int]]) -> None:
    found = pool()
    total = found.free_pages
    held: list[Sequence] = []
    for which, tokens in actions:
        if which == 3:
            try:
                held.append(found.open_sequence())
            except UsageError:
                assert len(held) == 3
        elif which < len(held) and tokens % 7 == 0:
            found.close_sequence(held.pop(which))
        elif which < len(held):
            sequence = held[which]
            before = list(sequence.pages)
            try:
                found.reserve(sequence, tokens)
            except ContextOverflowError:
                assert sequence.length + tokens > found.context
                assert sequence.pages == before
            else:
                sequence.length += tokens
                assert sequence.pages[: len(before)] == before
                assert len(sequence.pages) == max(len(before), -(-sequence.length // 32))
        pages = [page for sequence in held for page in sequence.pages]
        assert len(set(pages)) == len(pages)
        assert found.free_pages + len(pages) == total
    for sequence in held:
        found.close_sequence(sequence)
    assert found.free_pages == total


def test_a_closed_sequence_takes_nothing_and_closing_it_again_is_harmless() -> None:
    found = pool()
    sequence = found.open_sequence()
    found.reserve(sequence, 40)
    found.close_sequence(sequence)
    found.close_sequence(sequence)
    assert found.free_pages == 12
    with pytest.raises(UsageError, match="closed sequence"):
        found.reserve(sequence, 1)
    assert found.free_pages == 12


def test_every_sequence_can_fill_the_context_at_the_same_time() -> None:
    found = pool(context=100)
    sequences = [found.open_sequence() for _ in range(3)]
    for sequence in sequences:
        found.reserve(sequence, 100)
    assert found.free_pages == 0
    with pytest.raises(ContextOverflowError, match="at most 100"):
        found.reserve(sequences[0], 101)


def test_a_page_that_was_used_before_is_cleared_before_it_is_used_again() -> None:
    cleared.clear()
    found = pool(sequences=1)
    sequence = found.open_sequence()
    found.reserve(sequence, 64)
    assert not cleared
    used = list(sequence.pages)
    found.close_sequence(sequence)
    again = found.open_sequence()
    found.reserve(again, 100)
    assert cleared == [(min(used), len(used))], "neighbours are cleared together"
    assert set(used) < set(again.pages)


def test_pages_that_are_no_neighbours_are_cleared_by_themselves() -> None:
    cleared.clear()
    found = pool(sequences=3)
    first, second, third = (found.open_sequence() for _ in range(3))
    for sequence in (first, second, third):
        found.reserve(sequence, 32)
    used = [*first.pages, *third.pages]
    found.close_sequence(first)
    found.close_sequence(third)
    found.reserve(found.open_sequence(), 64)
    assert sorted(cleared) == [(page, 1) for page in sorted(used)]


@pytest.mark.parametrize(
    ("tokens", "context", "width"),
    [(1, 100, 4), (97, 100, 4), (1, 1000, 8), (257, 1000, 16), (700, 1000, 32), (5, 20, 1)],
)
def test_tables_have_few_widths_and_none_beyond_the_context(
    tokens: int, context: int, width: int
) -> None:
    found = pool(context=context)
    short, long = found.open_sequence(), found.open_sequence()
    found.reserve(long, tokens)
    assert found.table_width([short, long]) == width
    assert width >= len(long.pages)


def test_no_two_widths_are_closer_than_a_factor_of_two_but_the_last() -> None:
    found = pool(sequences=1, context=3000)
    sequence, widths = found.open_sequence(), []
    for _ in range(3000):
        found.reserve(sequence, 1)
        sequence.length += 1
        widths.append(found.table_width([sequence]))
    assert sorted(set(widths)) == [8, 16, 32, 64, 94]
    assert widths == sorted(widths)
