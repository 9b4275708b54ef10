"""Penalties on tokens that came before, and biases: what changes logits before the draw."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.sampling_options import SamplingSettings

Logits = npt.NDArray[np.float32]

_LARGEST = np.finfo(np.float32).max


class Penalties:
    """The penalties and biases of one sequence, and the tokens it has so far.

    The repetition penalty (Keskar et al. 2019, as in transformers) counts the prompt's tokens
    and the answer's; presence and frequency penalty (OpenAI's API) count the answer's only.
    """

    def __init__(
        self, settings: SamplingSettings, vocab_size: int, prompt_ids: Iterable[int]
    ) -> None:
        self._settings = settings
        self._bias_ids = np.array(list(settings.logit_bias.keys()), dtype=np.intp)
        self._bias = np.array(list(settings.logit_bias.values()), dtype=np.float32)
        self._repeats = settings.repetition_penalty != 1.0
        self._counts_answer = settings.presence_penalty != 0 or settings.frequency_penalty != 0
        self._seen = np.zeros(vocab_size if self._repeats else 0, dtype=np.bool_)
        self._counts = np.zeros(vocab_size if self._counts_answer else 0, dtype=np.int32)
        if self._repeats:
            self._seen[np.fromiter(prompt_ids, dtype=np.intp)] = True

    def adjusted(self, logits: Logits) -> Logits:
        """Return float32 [vocab] logits with penalties and bias; the same array without any."""
        if not (self._repeats or self._counts_answer or self._bias_ids.size):
            return logits
        settings = self._settings
        adjusted: Logits = logits.copy()
        with np.errstate(over="ignore", under="ignore"):
            if self._repeats:
                seen = logits[self._seen].astype(np.float64)
                penalty = settings.repetition_penalty
                adjusted[self._seen] = np.where(seen > 0, seen / penalty, seen * penalty)
            if self._counts_answer:
                ids = np.flatnonzero(self._counts)
                penalties = settings.frequency_penalty * self._counts[ids]
                adjusted[ids] -= (penalties + settings.presence_penalty).astype(np.float32)
            adjusted[self._bias_ids] += self._bias
        # An extreme penalty may overflow: two infinite logits would make a NaN of their difference.
        np.clip(adjusted, -_LARGEST, _LARGEST, out=adjusted)
        return adjusted

    def record(self, token_id: int) -> None:
        """Note a token of the answer."""
        if self._repeats:
            self._seen[token_id] = True
        if self._counts_answer:
            self._counts[token_id] += 1
