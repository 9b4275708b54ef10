"""Guess what a mistyped name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` most resembles, or None if none is near."""
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def fix_for(name: str, known: Iterable[str]) -> str:
    """Return the `fix` of an error about an unknown name."""
    guess = closest(name, known)
    return f"did you mean {guess}?" if guess else "take one of those"
