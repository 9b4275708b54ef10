"""Answers token by token: prefill, then draw and decode until something ends the answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ferrylm.runtime.answer_tokens import AnswerTokens
from ferrylm.runtime.draw_slots import AnswerDraws
from ferrylm.runtime.sampler import Draw, Sampler, TokenLogprob
from ferrylm.runtime.sampling_options import SamplingSettings
from ferrylm.runtime.stepper import Logits, Report, Stepper
from ferrylm.runtime.stop_strings import StopFinder
from ferrylm.runtime.tokenizer import Tokenizer


@dataclass(frozen=True)
class GenerationRequest:
    """One answer wanted, checked and ready: nothing in it can be refused any more."""

    prompt_ids: tuple[int, ...]
    settings: SamplingSettings
    max_tokens: int
    stop: tuple[str, ...]
    end_ids: frozenset[int]  # tokens that end the answer
    continues: bool  # the answer goes on with the prompt's own text
    started: float  # time.perf_counter() when the caller asked


@dataclass(frozen=True)
class Timings:
    """Where the time of one answer went.

    prompt_ms: the model's work on the prompt.
    first_token_ms: from the call to the first token, tokenization and template included.
    decode_ms: from the first token to the last.
    prompt_tok_s, decode_tok_s: tokens per second of the two; 0 where there was nothing to time.
    """

    prompt_ms: float
    first_token_ms: float
    decode_ms: float
    prompt_tok_s: float
    decode_tok_s: float


@dataclass(frozen=True)
class TokenReport:
    """One token of the answer with its log-probability and the likeliest alternatives."""

    token_id: int
    logprob: float
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Chunk:
    """What one step adds to an answer.

    `text` may be empty: bytes of an unfinished character and the beginning of what could be a
    stop string are held back. `token_ids` has the end-of-sequence token too, which is no text.
    `logprobs` is None unless asked for. `finish_reason` is None but in the last chunk: "stop"
    (end-of-sequence or stop string) or "length" (max_tokens or the context's end).
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenReport, ...] | None
    finish_reason: str | None


@dataclass(frozen=True)
class Generation:
    """A whole answer; see `Chunk` for text, token_ids, logprobs and finish_reason.

    `seed` is the one the tokens were drawn with, also where the caller left it open.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int
    logprobs: tuple[TokenReport, ...] | None
    seed: int
    timings: Timings


class Answer:
    """The state of one answer while it grows: everything but the model's own."""

    def __init__(self, request: GenerationRequest, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.request = request
        self.last_id = -1
        self.chunks: list[Chunk] = []
        self._sampler = Sampler(request.settings, vocab_size, request.prompt_ids)
        self._decoder = tokenizer.stream_decoder(continues=request.continues)
        self._finder = StopFinder(request.stop)
        self._count = 0
        self._prefill_s = 0.0
        self._first = self._latest = request.started

    def accept(self, logits: Logits) -> Chunk:
        """Draw one token from float32 [vocab_size] logits. Raises NumericError."""
        return self._take(self._sampler.draw(logits))

    def accept_report(self, report: Report) -> Chunk:
        """Take a token that a device drew. Raises NumericError."""
        return self._take(self._sampler.accept(report))

    def on_device(self) -> AnswerDraws | None:
        """Return how a device is to draw the rest of the answer; None where the host must."""
        return self._sampler.on_device(self.last_id, self.request.max_tokens - self._count)

    def _take(self, draw: Draw) -> Chunk:
        self.last_id = draw.token_id
        self._count += 1
        reports = None
        if draw.logprob is not None:
            reports = (TokenReport(draw.token_id, draw.logprob, draw.top),)
        text, finish_reason = self._advance(draw.token_id)
        self._latest = time.perf_counter()
        if self._count == 1:
            self._first = self._latest
        self.chunks.append(Chunk(text, (draw.token_id,), reports, finish_reason))
        return self.chunks[-1]

    def _advance(self, token_id: int) -> tuple[str, str | None]:
        ended = token_id in self.request.end_ids
        text = "" if ended else self._finder.push(self._decoder.push(token_id))
        if self._finder.found:
            return text, "stop"
        if ended or self._count >= self.request.max_tokens:
            text += self._finder.push(self._decoder.finish())
            text += self._finder.finish()
            return text, "stop" if ended or self._finder.found else "length"
        return text, None

    def prefilled(self, seconds: float) -> None:
        """Note how long the model worked on the prompt."""
        self._prefill_s = seconds

    def timings(self) -> Timings:
        """Return the times up to the latest token."""
        decode_s = self._latest - self._first
        prompt_tokens = len(self.request.prompt_ids)
        return Timings(
            prompt_ms=self._prefill_s * 1e3,
            first_token_ms=(self._first - self.request.started) * 1e3,
            decode_ms=decode_s * 1e3,
            prompt_tok_s=prompt_tokens / self._prefill_s if self._prefill_s > 0 else 0.0,
            decode_tok_s=(self._count - 1) / decode_s if decode_s > 0 else 0.0,
        )

    def generation(self) -> Generation:
        """Return the answer as far as it has come."""
        reports = [report for chunk in self.chunks for report in chunk.logprobs or ()]
        last = self.chunks[-1].finish_reason if self.chunks else None
        return Generation(
            text="".join(chunk.text for chunk in self.chunks),
            token_ids=tuple(id_ for chunk in self.chunks for id_ in chunk.token_ids),
            finish_reason=last or "closed",
            prompt_tokens=len(self.request.prompt_ids),
            logprobs=tuple(reports) if self.request.settings.logprobs else None,
            seed=self.request.settings.seed,
            timings=self.timings(),
        )


class TextStream(Iterator[Chunk]):
    """The chunks of one answer, drawn as they are asked for.

    Closing it, or leaving its `with` block, ends the answer and frees the model's memory of it;
    so does reaching the end, an error, and garbage collection. Nothing is computed before the
    first chunk is asked for.
    """

    def __init__(self, stepper: Stepper[Any], answer: Answer) -> None:
        self._answer = answer
        self._chunks = _steps(stepper, answer)

    @property
    def prompt_tokens(self) -> int:
        """Return the number of tokens of the prompt."""
        return len(self._answer.request.prompt_ids)

    @property
    def seed(self) -> int:
        """Return the seed of the draws, also where the caller left it open."""
        return self._answer.request.settings.seed

    @property
    def timings(self) -> Timings:
        """Return the times up to the latest chunk."""
        return self._answer.timings()

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def collect(self) -> Generation:
        """Draw what is left and return the whole answer, chunks that were drawn before included.

        The finish_reason of a stream that was closed before its end is "closed".
        """
        for _ in self:
            pass
        return self._answer.generation()

    def close(self) -> None:
        """End the answer now and free what the model holds of it; harmless when repeated."""
        self._chunks.close()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _steps(stepper: Stepper[Any], answer: Answer) -> Generator[Chunk, None, None]:
    tokens = AnswerTokens(stepper)
    try:
        chunk = tokens.open(answer)
        yield chunk
        while chunk.finish_reason is None:
            [(_, chunk)] = tokens.advance()
            yield chunk
    finally:
        tokens.close_all()


def run_batch(stepper: Stepper[Any], answers: Sequence[Answer]) -> list[Generation]:
    """Run all answers, as many at once as the stepper holds; a finished one makes room.

    Raises the first error of any of them, after freeing all sequences.
    """
    waiting = deque(answers)
    tokens = AnswerTokens(stepper)

    def close_if_done(answer: Answer, chunk: Chunk) -> None:
        if chunk.finish_reason is not None:
            tokens.close(answer)

    try:
        while waiting or tokens.sequences:
            while waiting and len(tokens.sequences) < stepper.max_batch:
                answer = waiting.popleft()
                close_if_done(answer, tokens.open(answer))
            for answer, chunk in tokens.advance():
                close_if_done(answer, chunk)
    finally:
        tokens.close_all()
    return [answer.generation() for answer in answers]
