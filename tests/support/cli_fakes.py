"""Stand-ins for a loaded model and an engine, so that the command line is tested by itself."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ferrylm.runtime.generation import Chunk, Timings
from ferrylm.runtime.manifest import Library


@dataclass(frozen=True)
class Ended:
    """How a run of the command line ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


Ferry = Callable[..., Ended]

TIMINGS = Timings(
    prompt_ms=210.0,
    first_token_ms=215.0,
    decode_ms=1000.0,
    prompt_tok_s=33.3,
    decode_tok_s=131.44,
)


class FakeStream(Iterator[Chunk]):
    """Says the given pieces; a callable among them is called when its turn comes."""

    def __init__(self, pieces: Sequence[str | Callable[[], str]]) -> None:
        self._pieces = list(pieces)
        self._next = 0
        self.closed = False
        self.prompt_tokens = 7
        self.seed = 42
        self.timings = TIMINGS

    def __next__(self) -> Chunk:
        if self._next == len(self._pieces):
            raise StopIteration
        piece = self._pieces[self._next]
        self._next += 1
        last = self._next == len(self._pieces)
        text = piece if isinstance(piece, str) else piece()
        return Chunk(text, (self._next,), None, "stop" if last else None)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def press_ctrl_c() -> str:
    """Do what a terminal does at Ctrl-C, in the middle of an answer."""
    os.kill(os.getpid(), signal.SIGINT)
    return "cut "


@dataclass
class FakeModel:
    """Answers every prompt with the next of `answers` and keeps what it was asked."""

    answers: list[list[Any]] = field(default_factory=lambda: [["Hello", ", ", "world"]])
    errors: dict[int, Exception] = field(default_factory=dict)  # call number -> what it raises
    context_length: int = 4096
    chat_template: object | None = "a template"
    asked: list[dict[str, Any]] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)
    loaded: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    closed: bool = False

    def stream(self, prompt: object, *, options: object, max_tokens: object, stop: object) -> Any:
        number = len(self.asked)
        self.asked.append(
            {"prompt": prompt, "options": options, "max_tokens": max_tokens, "stop": stop}
        )
        if number in self.errors:
            raise self.errors[number]
        stream = FakeStream(self.answers[min(len(self.streams), len(self.answers) - 1)])
        self.streams.append(stream)
        return stream

    def __enter__(self) -> FakeModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


@dataclass
class FakeSequence:
    length: int = 0
    closed: bool = False


@dataclass(frozen=True)
class FakeBackend:
    description: str = "Some GPU (driver 1.2)"


@dataclass
class FakeEngine:
    """Counts what it is asked to do; takes a fixed time per call on a clock of its own."""

    library: Library
    backend: FakeBackend = FakeBackend()
    threads: int = 2
    vocab_size: int = 64
    context_length: int = 1 << 20
    max_batch: int = 1
    now_ns: int = 0
    prefill_ns: int = 1_000_000
    decode_ns: int = 10_000_000
    calls: list[tuple[str, int]] = field(default_factory=list)
    sequences: list[FakeSequence] = field(default_factory=list)
    closed: bool = False
    memory_reader: Any = None

    def open_sequence(self) -> FakeSequence:
        self.sequences.append(FakeSequence())
        return self.sequences[-1]

    def prefill(self, sequence: FakeSequence, token_ids: Any) -> Any:
        self._check(token_ids)
        sequence.length += len(token_ids)
        self.now_ns += self.prefill_ns
        self.calls.append(("prefill", len(token_ids)))
        return np.zeros(self.vocab_size, np.float32)

    def decode(self, sequences: list[FakeSequence], token_ids: Any) -> Any:
        self._check(token_ids)
        assert len(sequences) == len(token_ids)
        for sequence in sequences:
            assert sequence.length > 0, "a sequence needs a first token before it decodes"
            sequence.length += 1
        self.now_ns += self.decode_ns
        self.calls.append(("decode", len(token_ids)))
        return np.zeros((len(sequences), self.vocab_size), np.float32)

    def close_sequence(self, sequence: FakeSequence) -> None:
        sequence.closed = True

    def close(self) -> None:
        self.closed = True

    def _check(self, token_ids: Any) -> None:
        assert token_ids.dtype == np.int32
        assert token_ids.min() >= 0
        assert token_ids.max() < self.vocab_size
