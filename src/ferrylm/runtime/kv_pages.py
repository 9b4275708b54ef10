"""Keys and values of open sequences, in pages that every layer numbers alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ferrylm.errors import ContextOverflowError, UsageError

_SMALLEST_TABLE = 8  # pages


@dataclass
class Sequence:
    """One open sequence: how many tokens it holds, and in which pages."""

    length: int = 0
    pages: list[int] = field(default_factory=list)
    open: bool = True


def page_count(page_size: int, context: int, sequences: int) -> int:
    """Return the pages that so many sequences of a full context take."""
    return sequences * -(-context // page_size)


class PagePool:
    """The pages that are free and those that sequences hold; what is in them is `storage`'s."""

    def __init__(
        self, page_size: int, context: int, sequences: int, clear: Callable[[int, int], None]
    ) -> None:
        """`clear` zeroes pages that somebody had before: the first, and how many from there on."""
        self.page_size = page_size
        self.context = context
        self.max_sequences = sequences
        self.pages = page_count(page_size, context, sequences)
        self._open = 0
        self._clear = clear
        self._free = list(range(self.pages - 1, -1, -1))
        self._used_before: set[int] = set()

    @property
    def free_pages(self) -> int:
        """Return the number of pages that no sequence holds."""
        return len(self._free)

    def open_sequence(self) -> Sequence:
        """Open an empty sequence. Raises UsageError when all that fit are open."""
        if self._open == self.max_sequences:
            raise UsageError(
                f"{self._open} open sequences",
                wanted=f"at most {self.max_sequences}",
                fix="close one, or load the model with more max_sequences",
            )
        self._open += 1
        return Sequence()

    def check(self, sequence: Sequence, tokens: int) -> None:
        """Raise UsageError or ContextOverflowError if the sequence cannot take so many more."""
        if not sequence.open:
            raise UsageError("a closed sequence", wanted="an open one", fix="open another")
        if sequence.length + tokens > self.context:
            raise ContextOverflowError(
                f"{sequence.length} tokens and {tokens} more",
                wanted=f"at most {self.context}",
                fix="shorten the prompt or load the model with a longer context",
            )

    def reserve(self, sequence: Sequence, tokens: int) -> None:
        """Give the sequence pages for so many more tokens. Raises what `check` raises."""
        self.check(sequence, tokens)
        needed = page_count(self.page_size, sequence.length + tokens, 1) - len(sequence.pages)
        taken = [self._free.pop() for _ in range(needed)]
        # A masked slot is multiplied by zero, and zero times an old infinity is no number.
        for first, count in _ranges(self._used_before.intersection(taken)):
            self._clear(first, count)
        self._used_before.update(taken)
        sequence.pages.extend(taken)

    def give_back_unused(self, sequence: Sequence) -> None:
        """Take back the pages that were reserved beyond the sequence's tokens."""
        needed = -(-sequence.length // self.page_size)
        self._free.extend(reversed(sequence.pages[needed:]))
        del sequence.pages[needed:]

    def close_sequence(self, sequence: Sequence) -> None:
        """Take the pages back; closing twice is harmless."""
        if not sequence.open:
            return
        sequence.open = False
        self._open -= 1
        self._free.extend(reversed(sequence.pages))
        sequence.pages.clear()

    def table_width(self, sequences: list[Sequence]) -> int:
        """Return the width of a block table for these: a power of two, or all of the context.

        So there are few widths, and a step that was recorded for one serves many.
        """
        longest = max(len(sequence.pages) for sequence in sequences)
        width = 1 << max(_SMALLEST_TABLE.bit_length() - 1, (longest - 1).bit_length())
        return min(width, max(longest, page_count(self.page_size, self.context, 1)))


def _ranges(pages: Iterable[int]) -> list[tuple[int, int]]:
    """Return the pages as ranges: the first of each, and how many follow one another."""
    found: list[tuple[int, int]] = []
    for page in sorted(pages):
        if found and sum(found[-1]) == page:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((page, 1))
    return found
