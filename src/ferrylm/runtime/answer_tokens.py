"""The tokens of answers: drawn by the device, ahead of the host, where it can; else by the host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ferrylm.runtime.stepper import Stepper, draws_itself

if TYPE_CHECKING:
    from ferrylm.runtime.generation import Answer, Chunk


class AnswerTokens:
    """The sequences of answers that grow, and where the next token of each comes from."""

    def __init__(self, stepper: Stepper[Any]) -> None:
        self._stepper, self._drawing = stepper, draws_itself(stepper)
        self._drawn: set[Answer] = set()
        self.sequences: dict[Answer, Any] = {}

    def open(self, answer: Answer) -> Chunk:
        """Run the prompt and draw the first token."""
        sequence = self.sequences[answer] = self._stepper.open_sequence()
        chunk = _prefill(self._stepper, sequence, answer)
        draws = answer.on_device() if self._drawing and chunk.finish_reason is None else None
        if self._drawing is not None and draws is not None:
            self._drawing.begin_drawing(sequence, draws)
            self._drawn.add(answer)
        return chunk

    def advance(self) -> list[tuple[Answer, Chunk]]:
        """Draw one token for every answer."""
        found = []
        ours = [answer for answer in self.sequences if answer not in self._drawn]
        if ours:
            last = np.array([answer.last_id for answer in ours], dtype=np.int32)
            logits = self._stepper.decode([self.sequences[answer] for answer in ours], last)
            found += [(a, a.accept(row)) for a, row in zip(ours, logits, strict=True)]
        theirs = [answer for answer in self.sequences if answer in self._drawn]
        if theirs and self._drawing is not None:
            reports = self._drawing.next_reports([self.sequences[answer] for answer in theirs])
            found += [(a, a.accept_report(row)) for a, row in zip(theirs, reports, strict=True)]
        return found

    def close(self, answer: Answer) -> None:
        """Free what the stepper holds of an answer."""
        self._drawn.discard(answer)
        self._stepper.close_sequence(self.sequences.pop(answer))

    def close_all(self) -> None:
        """Free everything."""
        for answer in list(self.sequences):
            self.close(answer)


def _prefill(stepper: Stepper[Any], sequence: Any, answer: Answer) -> Chunk:
    prompt = np.array(answer.request.prompt_ids, dtype=np.int32)
    began = time.perf_counter()
    logits = stepper.prefill(sequence, prompt)
    answer.prefilled(time.perf_counter() - began)
    return answer.accept(logits)
