"""Time an engine: random tokens, no tokenizer, no sampler, as llama-bench does."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ferrylm.cli.bench_plan import BenchTest

if TYPE_CHECKING:
    from ferrylm.runtime.stepper import S, Stepper, TokenIds

Clock = Callable[[], int]


@dataclass(frozen=True)
class Timing:
    """The times of all repetitions of one test."""

    test: BenchTest
    samples_ns: tuple[int, ...]

    @property
    def samples_tok_s(self) -> tuple[float, ...]:
        """Return the rate of each repetition."""
        return tuple(self.test.timed_tokens * 1e9 / sample for sample in self.samples_ns)

    @property
    def mean_tok_s(self) -> float:
        """Return the mean rate."""
        return statistics.fmean(self.samples_tok_s)

    @property
    def median_tok_s(self) -> float:
        """Return the median rate, which one slow repetition does not move."""
        return statistics.median(self.samples_tok_s)

    @property
    def deviation_tok_s(self) -> float:
        """Return the sample standard deviation of the rate; 0 for a single repetition."""
        return _deviation(self.samples_tok_s)

    @property
    def mean_ns(self) -> float:
        """Return the mean time of a repetition."""
        return statistics.fmean(self.samples_ns)

    @property
    def deviation_ns(self) -> float:
        """Return the sample standard deviation of the time; 0 for a single repetition."""
        return _deviation(self.samples_ns)


def measure(
    engine: Stepper[S],
    test: BenchTest,
    *,
    repetitions: int,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> Timing:
    """Run `test` once to warm up and then `repetitions` times, each on new sequences."""
    random = np.random.default_rng(seed)
    samples: list[int] = []
    for repetition in range(repetitions + 1):
        shape = (test.sequences, test.context_tokens)
        tokens = random.integers(0, engine.vocab_size, shape, dtype=np.int32)
        elapsed_ns = _run_once(engine, test, tokens, clock)
        if repetition > 0:
            samples.append(max(elapsed_ns, 1))
    return Timing(test, tuple(samples))


def _run_once(engine: Stepper[S], test: BenchTest, tokens: TokenIds, clock: Clock) -> int:
    before, timed = tokens[:, : test.untimed_tokens], tokens[:, test.untimed_tokens :]
    sequences = []
    try:
        for own in before:
            sequences.append(engine.open_sequence())
            if own.size:
                engine.prefill(sequences[-1], own)
        start_ns = clock()
        if test.prompt_tokens:
            engine.prefill(sequences[0], timed[0])
        else:
            for position in range(test.generated_tokens):
                engine.decode(sequences, timed[:, position])
        return clock() - start_ns
    finally:
        for sequence in sequences:
            engine.close_sequence(sequence)


def _deviation(samples: tuple[float, ...] | tuple[int, ...]) -> float:
    return statistics.stdev(samples) if len(samples) > 1 else 0.0
