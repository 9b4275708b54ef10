from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrylm.errors import ContextOverflowError, UsageError
from ferrylm.runtime.kv_pages import PagePool, Sequence, pool_bytes
from ferrylm.runtime.manifest import ModelConfig, RopeConfig

MODEL = ModelConfig(
    "llama", 64, 96, 2, 4, 2, 16, 100, 512, 1e-5, True, RopeConfig("default", 10000.0)
)


def pool(sequences: int = 3, context: int = 100, page_size: int = 32) -> PagePool:
    return PagePool(MODEL, "float16", page_size, context, sequences)


def test_the_pools_have_the_size_that_was_planned() -> None:
    found = pool()
    pages = 3 * 4
    assert found.free_pages == pages
    assert sum(a.nbytes for a in found.keys + found.values) == pool_bytes(
        MODEL, "float16", pages, 32
    )
    assert {keys.shape for keys in found.keys} == {(pages, 2, 16, 32)}
    assert {values.shape for values in found.values} == {(pages, 2, 32, 16)}
    assert len(found.keys) == len(found.values) == MODEL.num_layers


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


def test_a_page_that_was_used_before_comes_back_without_its_values() -> None:
    found = pool(sequences=1)
    sequence = found.open_sequence()
    found.reserve(sequence, 64)
    for values in found.values:
        values[sequence.pages] = np.inf
    found.close_sequence(sequence)
    again = found.open_sequence()
    found.reserve(again, 100)
    for values in found.values:
        assert not values[again.pages].any()


def test_block_tables_are_as_wide_as_the_longest_sequence() -> None:
    found = pool()
    short, long = found.open_sequence(), found.open_sequence()
    found.reserve(short, 1)
    found.reserve(long, 97)
    tables = found.block_tables([short, long], 4)
    assert tables.shape == (4, 4)
    assert tables.dtype == np.int32
    np.testing.assert_array_equal(tables[0], [short.pages[0], 0, 0, 0])
    np.testing.assert_array_equal(tables[1], long.pages)
    assert not tables[2:].any()
    assert found.block_tables([found.open_sequence()], 1).shape == (1, 1)
