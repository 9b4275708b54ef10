"""Texts at which generation ends, found in a stream of pieces."""

from __future__ import annotations

from collections.abc import Sequence

from ferrylm.errors import UsageError

MAX_STOP_STRINGS = 16
MAX_STOP_CHARACTERS = 256


def checked_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return the stop strings as a tuple. Raises UsageError for too many, too long or empty."""
    if isinstance(stop, str):
        stop = (stop,)
    if not isinstance(stop, Sequence) or isinstance(stop, bytes):
        raise UsageError(
            f"stop strings of type {type(stop).__name__}",
            wanted="a text or a list of texts",
            fix="give another stop string",
        )
    stops = tuple(stop)
    if len(stops) > MAX_STOP_STRINGS:
        raise UsageError(
            f"{len(stops)} stop strings",
            wanted=f"at most {MAX_STOP_STRINGS}",
            fix="give fewer of them",
        )
    for text in stops:
        if not isinstance(text, str) or not 0 < len(text) <= MAX_STOP_CHARACTERS:
            raise UsageError(
                f"the stop string {ascii(text)[:80]}",
                wanted=f"a text of 1 to {MAX_STOP_CHARACTERS} characters",
                fix="give another stop string",
            )
    return stops


class StopFinder:
    """A filter that lets text through up to the first stop string.

    Text that could be the beginning of a stop string is held back until it is decided.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._first_characters = frozenset(text[0] for text in self._stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Take a piece of text; return what may be shown. Nothing more comes once `found`."""
        if self.found or not self._stops:
            return "" if self.found else piece
        text = self._held + piece
        ends = [place for place in map(text.find, self._stops) if place >= 0]
        if ends:
            self.found = True
            self._held = ""
            return text[: min(ends)]
        keep = self._possible_beginning(text)
        self._held = text[keep:]
        return text[:keep]

    def finish(self) -> str:
        """Return what was held back: no stop string came of it."""
        held, self._held = self._held, ""
        return held

    def _possible_beginning(self, text: str) -> int:
        """Return where the longest end of `text` that begins a stop string starts."""
        for place in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[place] in self._first_characters:
                tail = text[place:]
                if any(stop.startswith(tail) for stop in self._stops):
                    return place
        return len(text)
