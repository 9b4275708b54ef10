"""Time an engine: random tokens, no tokenizer, no sampler of the host's, as llama-bench does.

Where a device draws tokens by itself, tokens are generated so: greedily, from a random one on.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ferrylm.cli.bench_plan import BenchTest
from ferrylm.runtime.draw_slots import greedy_draws

if TYPE_CHECKING:
    from ferrylm.runtime.stepper import S, Stepper, TokenIds

Clock = Callable[[], int]


@dataclass(frozen=True)
class HostPart:
    """What the host did while a device drew tokens by itself, in all repetitions of a test.

    `busy_ns` is the time in which it did not wait for tokens; `dry` counts the steps before whose
    launch the device had nothing left to do.
    """

    steps: int = 0
    busy_ns: int = 0
    dry: int = 0

    def __add__(self, other: HostPart) -> HostPart:
        return HostPart(
            self.steps + other.steps, self.busy_ns + other.busy_ns, self.dry + other.dry
        )

    @property
    def busy_us_per_step(self) -> float:
        """Return how long the host is busy with one step."""
        return self.busy_ns / 1e3 / max(self.steps, 1)

    @property
    def dry_percent(self) -> float:
        """Return the share of steps that came late."""
        return 100 * self.dry / max(self.steps, 1)


@dataclass(frozen=True)
class Timing:
    """The times of all repetitions of one test; `host` is None where the host draws tokens."""

    test: BenchTest
    samples_ns: tuple[int, ...]
    host: HostPart | None = None

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
    host: HostPart | None = None
    for repetition in range(repetitions + 1):
        shape = (test.sequences, test.context_tokens)
        tokens = random.integers(0, engine.vocab_size, shape, dtype=np.int32)
        elapsed_ns, part = _run_once(engine, test, tokens, clock)
        if repetition > 0:
            samples.append(max(elapsed_ns, 1))
            host = part if host is None or part is None else host + part
    return Timing(test, tuple(samples), host)


def _run_once(
    engine: Stepper[S], test: BenchTest, tokens: TokenIds, clock: Clock
) -> tuple[int, HostPart | None]:
    before, timed = tokens[:, : test.untimed_tokens], tokens[:, test.untimed_tokens :]
    sequences: list[S] = []
    try:
        for own in before:
            sequences.append(engine.open_sequence())
            if own.size:
                engine.prefill(sequences[-1], own)
        start_ns, host = clock(), None
        if test.prompt_tokens:
            engine.prefill(sequences[0], timed[0])
        elif getattr(engine, "draws", False):
            host = _draw(engine, test, sequences, timed[:, 0])
        else:
            for position in range(test.generated_tokens):
                engine.decode(sequences, timed[:, position])
        elapsed_ns = clock() - start_ns
        return elapsed_ns, host and replace(host, busy_ns=elapsed_ns - host.busy_ns)
    finally:
        for sequence in sequences:
            engine.close_sequence(sequence)


def _draw(engine: Any, test: BenchTest, sequences: list[S], first: TokenIds) -> HostPart:
    """Let the device draw greedily; `busy_ns` of the result is the time that the host waited."""
    before = replace(engine.ahead_statistics)
    for sequence, token in zip(sequences, first.tolist(), strict=True):
        engine.begin_drawing(sequence, greedy_draws(token, test.generated_tokens))
    for _ in range(test.generated_tokens):
        engine.next_reports(sequences)
    after = engine.ahead_statistics
    waited_ns = round((after.waited_s - before.waited_s) * 1e9)
    return HostPart(after.steps - before.steps, waited_ns, after.starved - before.starved)


def _deviation(samples: tuple[float, ...] | tuple[int, ...]) -> float:
    return statistics.stdev(samples) if len(samples) > 1 else 0.0
