"""Penalties on tokens that came before, and biases: what changes logits before the draw."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.draw_layout import ANSWERED, SEEN
from ferrylm.runtime.sampling_options import SamplingSettings

Logits = npt.NDArray[np.float32]

_LARGEST = np.finfo(np.float32).max


class Penalties:
    """The penalties and biases of one sequence, and the tokens it has so far.

    The repetition penalty (Keskar et al. 2019, as in transformers) counts the prompt's tokens
    and the answer's; presence and frequency penalty (OpenAI's API) count the answer's only.

    All of it is float32, one operation after another, so that a kernel gets the same bits.
    """

    def __init__(
        self, settings: SamplingSettings, vocab_size: int, prompt_ids: Iterable[int]
    ) -> None:
        self._presence = np.float32(settings.presence_penalty)
        self._frequency = np.float32(settings.frequency_penalty)
        with np.errstate(over="ignore", under="ignore"):
            self.factor = np.float32(settings.repetition_penalty)
            self.inverse = np.float32(1.0 / settings.repetition_penalty)
        self.repeats = settings.repetition_penalty != 1.0
        self._penalizes = bool(self._presence != 0 or self._frequency != 0)
        self.shifts = self._penalizes or bool(settings.logit_bias)
        self._vocab_size = vocab_size
        self._seen = np.zeros(vocab_size if self.repeats else 0, dtype=np.bool_)
        self._answered = np.zeros(vocab_size if self._penalizes else 0, dtype=np.bool_)
        self._offsets = np.zeros(vocab_size if self.shifts else 0, dtype=np.float32)
        for token_id, bias in settings.logit_bias.items():
            self._offsets[token_id] = bias
        if self.repeats:
            self._seen[np.fromiter(prompt_ids, dtype=np.intp)] = True

    def adjusted(self, logits: Logits) -> Logits:
        """Return float32 [vocab] logits with penalties and bias; the same array without any.

        An extreme penalty may overflow, and two infinite logits would make a NaN of their
        difference: so all stays finite.
        """
        if not (self.repeats or self.shifts):
            return logits
        adjusted: Logits = logits.copy()
        with np.errstate(over="ignore", under="ignore"):
            if self.repeats:
                seen = logits[self._seen]
                adjusted[self._seen] = seen * np.where(seen > 0, self.inverse, self.factor)
                np.clip(adjusted, -_LARGEST, _LARGEST, out=adjusted)
            if self.shifts:
                adjusted += self._offsets
        np.clip(adjusted, -_LARGEST, _LARGEST, out=adjusted)
        return adjusted

    def record(self, token_id: int) -> None:
        """Note a token of the answer."""
        if self.repeats:
            self._seen[token_id] = True
        if self._penalizes:
            if not self._answered[token_id]:
                self._answered[token_id] = True
                self._offsets[token_id] -= self._presence
            self._offsets[token_id] -= self._frequency

    def seen(self) -> npt.NDArray[np.int32]:
        """Return int32 [vocab]: the bits of draw_layout.py."""
        bits = np.zeros(self._vocab_size, np.int32)
        if self.repeats:
            bits[self._seen] |= SEEN
        if self._penalizes:
            bits[self._answered] |= ANSWERED
        return bits

    def offsets(self) -> npt.NDArray[np.float32]:
        """Return float32 [vocab]: what is added to each logit, in memory of its own."""
        if not self.shifts:
            return np.zeros(self._vocab_size, np.float32)
        offsets: Logits = self._offsets.copy()
        return offsets
