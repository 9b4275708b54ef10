"""Text is shown up to the first stop string, and no character of one is ever shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrylm.errors import UsageError
from ferrylm.runtime.stop_strings import StopFinder, checked_stops

pieces_of_two_letters = st.lists(st.text("ab", max_size=4), max_size=15)
stops_of_two_letters = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)


@given(pieces=pieces_of_two_letters, stops=stops_of_two_letters)
@settings(max_examples=500, deadline=None)
def test_the_shown_text_ends_at_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    finder = StopFinder(stops)
    shown = ""
    given_so_far = ""
    for piece in pieces:
        given_so_far += piece
        shown += finder.push(piece)
        places = [p for p in map(given_so_far.find, stops) if p >= 0]
        assert finder.found == bool(places)
        if places:
            assert shown == given_so_far[: min(places)]
            return
        held = given_so_far.removeprefix(shown)
        assert given_so_far == shown + held
        begins_a_stop = [s for s in stops if held and s.startswith(held)]
        assert held == "" or begins_a_stop, "more was held back than had to be"
    assert shown + finder.finish() == "".join(pieces)


@given(pieces=pieces_of_two_letters, stops=stops_of_two_letters)
@settings(max_examples=300, deadline=None)
def test_nothing_shown_could_still_become_part_of_a_stop_string(
    pieces: list[str], stops: list[str]
) -> None:
    """Whatever comes next, an occurrence that begins in shown text must not exist."""
    finder = StopFinder(stops)
    shown = given_so_far = ""
    for piece in pieces:
        given_so_far += piece
        shown += finder.push(piece)
        if finder.found:
            return
        for stop in stops:
            for length in range(1, len(stop)):
                if given_so_far.endswith(stop[:length]):
                    assert len(shown) <= len(given_so_far) - length


def test_nothing_is_held_back_without_stop_strings() -> None:
    finder = StopFinder(())
    assert finder.push("abc") == "abc"
    assert finder.finish() == ""


def test_nothing_comes_after_a_stop_string() -> None:
    finder = StopFinder(["x"])
    assert finder.push("axb") == "a"
    assert finder.push("c") == ""
    assert finder.finish() == ""


@pytest.mark.parametrize(
    ("stop", "found"),
    [
        ([""], "''"),
        (["a", 3], "3"),
        (["a" * 257], "aaa"),
        (["a"] * 17, "17"),
        (5, "int"),
        (b"a", "bytes"),
    ],
)
def test_a_wrong_stop_string_is_refused(stop: Any, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        checked_stops(stop)


def test_one_text_is_one_stop_string() -> None:
    assert checked_stops("abc") == ("abc",)
    assert checked_stops(["a", "b"]) == ("a", "b")
