"""What text generation asks of an engine: token ids in, logits out."""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.draw_slots import AnswerDraws

TokenIds = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]
Report = npt.NDArray[np.int32]


class Sequence(Protocol):
    """One sequence of tokens whose keys and values the engine holds."""

    @property
    def length(self) -> int:
        """Return how many tokens the sequence holds."""


S = TypeVar("S", bound=Sequence)


class Stepper(Protocol[S]):
    """The model as a function of tokens; the engine is one, and so are the tests' fakes."""

    @property
    def context_length(self) -> int:
        """Return how many tokens one sequence may hold at most."""

    @property
    def vocab_size(self) -> int:
        """Return the number of logits: the rows of the model's output head."""

    @property
    def max_batch(self) -> int:
        """Return how many sequences may be open, and be decoded together, at most."""

    def open_sequence(self) -> S:
        """Open an empty sequence."""

    def prefill(self, sequence: S, token_ids: TokenIds) -> Logits:
        """Append int32 tokens; return float32 [vocab_size], the logits after the last one."""

    def decode(self, sequences: list[S], token_ids: TokenIds) -> Logits:
        """Append one int32 token to each sequence; return float32 [len(sequences), vocab_size]."""

    def close_sequence(self, sequence: S) -> None:
        """Free what the sequence holds; closing twice is harmless."""


class DrawingStepper(Stepper[S], Protocol[S]):
    """A stepper whose device draws tokens itself, some steps ahead of who reads them."""

    @property
    def draws(self) -> bool:
        """Return whether it does: another library of the same model may not."""

    def begin_drawing(self, sequence: S, draws: AnswerDraws) -> None:
        """Decode the last token and draw on, until `decode`, `prefill` or `close_sequence`."""

    def next_reports(self, sequences: list[S]) -> list[Report]:
        """Append a token to each sequence; return int32 [REPORT] of the next one of each."""


def draws_itself(stepper: Stepper[S]) -> DrawingStepper[S] | None:
    """Return a stepper as one whose device draws tokens, if it does."""
    if getattr(stepper, "draws", False):
        return cast("DrawingStepper[S]", stepper)
    return None


class SerialStepper(Generic[S]):
    """A stepper that many threads may call: one call at a time reaches the engine."""

    def __init__(self, stepper: Stepper[S]) -> None:
        self._stepper = stepper
        self._lock = threading.Lock()
        self.context_length = stepper.context_length
        self.vocab_size = stepper.vocab_size
        self.max_batch = stepper.max_batch
        self._drawing = draws_itself(stepper)
        self.draws = self._drawing is not None

    def open_sequence(self) -> S:
        """Open an empty sequence."""
        with self._lock:
            return self._stepper.open_sequence()

    def prefill(self, sequence: S, token_ids: TokenIds) -> Logits:
        """Append tokens and return the logits after the last one."""
        with self._lock:
            return self._stepper.prefill(sequence, token_ids)

    def decode(self, sequences: list[S], token_ids: TokenIds) -> Logits:
        """Append one token to each sequence and return the logits after it."""
        with self._lock:
            return self._stepper.decode(sequences, token_ids)

    def close_sequence(self, sequence: S) -> None:
        """Free what the sequence holds."""
        with self._lock:
            self._stepper.close_sequence(sequence)

    def begin_drawing(self, sequence: S, draws: AnswerDraws) -> None:
        """Let the device draw a sequence's tokens."""
        assert self._drawing is not None, "see draws"
        with self._lock:
            self._drawing.begin_drawing(sequence, draws)

    def next_reports(self, sequences: list[S]) -> list[Report]:
        """Return the report of the next token of each sequence."""
        assert self._drawing is not None, "see draws"
        with self._lock:
            return self._drawing.next_reports(sequences)
