"""What a device keeps of each answer whose tokens it draws; see draw_layout.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.backends.base import DrawingBackend, Tensor
from ferrylm.runtime.draw_layout import SETTINGS, UNIFORMS, Setting
from ferrylm.runtime.draw_settings import uniform_numbers

_HALF = UNIFORMS // 2


@dataclass(frozen=True)
class AnswerDraws:
    """How the tokens of an answer are to be drawn from here on.

    `seen` and `offsets` are as after the last token; None where the settings do without.
    """

    last_id: int  # the token that is decoded next
    most: int  # tokens to be drawn at most
    settings: npt.NDArray[np.int32]
    random: np.random.Generator
    seen: npt.NDArray[np.int32] | None
    offsets: npt.NDArray[np.float32] | None


def greedy_draws(last_id: int, most: int) -> AnswerDraws:
    """Return draws of the likeliest tokens, without penalties."""
    settings = np.zeros(SETTINGS, np.int32)
    settings[Setting.TOP_P] = np.float32(1).view(np.int32)
    return AnswerDraws(last_id, most, settings, np.random.default_rng(0), None, None)


class DrawSlots:
    """The slots of a device: settings, uniform numbers, penalties."""

    def __init__(self, backend: DrawingBackend, count: int, vocabulary: int) -> None:
        """Take memory for so many answers. Raises MemoryLimitError."""
        self._backend, self._vocabulary = backend, vocabulary
        self._free = list(range(count - 1, -1, -1))
        self._streams: dict[int, np.random.Generator] = {}
        self._filled: dict[int, int] = {}
        shapes = (
            ((count, SETTINGS), "int32"),
            ((count, UNIFORMS), "float32"),
            ((count,), "int32"),
            ((count, vocabulary), "int32"),
            ((count, vocabulary), "float32"),
        )
        arena = backend.arena(4 * sum(int(np.prod(shape)) for shape, _ in shapes))
        self.tensors: list[Tensor] = [arena.take(*shape, zeroed=True) for shape in shapes]

    def open(self, draws: AnswerDraws) -> int:
        """Fill a slot; its number is `close`d later."""
        slot = self._free.pop()
        settings, uniforms, drawn, seen, offsets = self.tensors
        write = self._backend.write
        write(settings, slot * SETTINGS, draws.settings)
        write(uniforms, slot * UNIFORMS, uniform_numbers(draws.random, UNIFORMS))
        write(drawn, slot, np.zeros(1, np.int32))
        if draws.seen is not None:
            write(seen, slot * self._vocabulary, draws.seen)
        if draws.offsets is not None:
            write(offsets, slot * self._vocabulary, draws.offsets)
        self._streams[slot], self._filled[slot] = draws.random, UNIFORMS
        return slot

    def make_ready(self, slot: int, draws: int) -> None:
        """See to it that draw number `draws` finds its uniform number, and those before it.

        New numbers take the place of the older half, all of which must have been used by steps
        that were launched before.
        """
        while draws >= self._filled[slot]:
            start = self._filled[slot] % UNIFORMS
            numbers = uniform_numbers(self._streams[slot], _HALF)
            self._backend.write(self.tensors[1], slot * UNIFORMS + start, numbers)
            self._filled[slot] += _HALF

    def close(self, slot: int) -> None:
        """Let another answer have the slot."""
        del self._streams[slot], self._filled[slot]
        self._free.append(slot)
