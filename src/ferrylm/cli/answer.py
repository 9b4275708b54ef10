"""Take one answer from a stream, to the terminal as it comes, until it ends or Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrylm.runtime.generation import TextStream, Timings

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Taken:
    """An answer as far as it came; `finish_reason` may be "interrupted"."""

    text: str
    finish_reason: str
    prompt_tokens: int
    answer_tokens: int
    seed: int
    timings: Timings

    @property
    def context_tokens(self) -> int:
        """Return how many tokens prompt and answer hold together."""
        return self.prompt_tokens + self.answer_tokens

    def document(self) -> dict[str, object]:
        """Return what --json prints of the answer."""
        return asdict(self)

    def timing_line(self, context_length: int) -> str:
        """Return "prompt 512 tok 0.21 s | 32 tok, 131.4 tok/s | ctx 544/4096"."""
        rate = f", {self.timings.decode_tok_s:.1f} tok/s" if self.timings.decode_tok_s else ""
        return (
            f"prompt {self.prompt_tokens} tok {self.timings.prompt_ms / 1e3:.2f} s | "
            f"{self.answer_tokens} tok{rate} | ctx {self.context_tokens}/{context_length}"
        )


def take_answer(stream: TextStream, write: Callable[[str], None]) -> Taken:
    """Write each piece of text as it comes; Ctrl-C ends the answer between two tokens."""
    texts: list[str] = []
    answer_tokens, finish_reason = 0, INTERRUPTED
    with stream, interruptible() as interrupted:
        for chunk in stream:
            answer_tokens += len(chunk.token_ids)
            if chunk.text:
                texts.append(chunk.text)
                write(chunk.text)
            if chunk.finish_reason is not None:
                finish_reason = chunk.finish_reason
            if interrupted.is_set():
                break
    return Taken(
        text="".join(texts),
        finish_reason=finish_reason,
        prompt_tokens=stream.prompt_tokens,
        answer_tokens=answer_tokens,
        seed=stream.seed,
        timings=stream.timings,
    )


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that no step of the model is torn in two.

    A second one raises KeyboardInterrupt, in case the first is not heard. Outside the main
    thread, where Python delivers no signals, the flag is never set.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(_: int, __: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
