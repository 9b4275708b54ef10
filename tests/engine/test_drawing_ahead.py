"""Tokens that a Vulkan device draws ahead of the host, beside those that the host draws.

On lavapipe unless another driver is named. The reference is the same engine with the draws of the
host: the same uniform numbers, so the same tokens (test_gpu_sampling.py says how nearly).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.errors import DeviceError, NumericError, UsageError
from ferrylm.runtime import ahead
from ferrylm.runtime.backends.steps import RECORDING
from ferrylm.runtime.engine import Engine
from ferrylm.runtime.generation import Answer, Generation, GenerationRequest, TextStream, run_batch
from ferrylm.runtime.sampling_options import SamplingSettings
from ferrylm.runtime.stepper import SerialStepper
from tests.engine.built_artifacts import Build
from tests.engine.opened import opener, prefilled

GREEDY = SamplingSettings(
    temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0,
    frequency_penalty=0.0, logit_bias={}, seed=1, logprobs=False, top_logprobs=0,
)  # fmt: skip
SETTINGS = {
    "greedy": GREEDY,
    "greedy, penalized": replace(GREEDY, repetition_penalty=1.3, frequency_penalty=0.2),
    "plain": replace(GREEDY, temperature=1.0),
    "top-k": replace(GREEDY, temperature=0.8, top_k=20, presence_penalty=0.5),
    "top-p": replace(GREEDY, temperature=1.5, top_p=0.9, logit_bias={7: 3.0}),
    "all": replace(GREEDY, temperature=0.7, top_k=40, top_p=0.95, min_p=0.05, seed=9),
}
PROMPT = (3, 4, 5, 6, 250)


class Letters:
    """A tokenizer whose every token is a letter, and its decoder."""

    def stream_decoder(self, *, continues: bool) -> Letters:
        del continues
        return self

    def push(self, token_id: int) -> str:
        return chr(ord("a") + token_id % 26)

    def finish(self) -> str:
        return ""


class OnHost:
    """An engine that keeps to itself that its device can draw."""

    draws = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def answer(
    engine: Engine, settings: SamplingSettings = GREEDY, most: int = 30, **changes: Any
) -> Answer:
    request = GenerationRequest(
        prompt_ids=PROMPT, settings=settings, max_tokens=most, stop=(), end_ids=frozenset(),
        continues=True, started=time.perf_counter(),
    )  # fmt: skip
    tokenizer: Any = Letters()
    return Answer(replace(request, **changes), tokenizer, engine.vocab_size)


def on_device(engine: Engine, *args: Any, **changes: Any) -> Generation:
    with TextStream(SerialStepper(engine), answer(engine, *args, **changes)) as stream:
        return stream.collect()


def on_host(engine: Engine, *args: Any, **changes: Any) -> Generation:
    with TextStream(OnHost(engine), answer(engine, *args, **changes)) as stream:
        return stream.collect()


@pytest.fixture(scope="module")
def engine(build: Build) -> Iterator[Engine]:
    with opener(build) as open_one:
        yield open_one("vulkan nibbles", target="vulkan-subgroup8-dot", max_sequences=6)[1]


@pytest.fixture(autouse=True)
def nothing_is_left(engine: Engine) -> Iterator[None]:
    assert engine.draws
    yield
    assert engine._pool.free_pages == engine._pool.pages


@pytest.mark.parametrize("name", SETTINGS)
def test_answers_are_those_of_the_hosts_draws(engine: Engine, name: str) -> None:
    """100 tokens cross pages of 32, and the device counts penalties itself."""
    found = on_device(engine, SETTINGS[name], 100)
    wanted = on_host(engine, SETTINGS[name], 100)
    assert found.token_ids == wanted.token_ids
    assert (found.text, found.finish_reason) == (wanted.text, "length")


def test_an_answer_may_fill_the_context_to_its_end(engine: Engine) -> None:
    most = engine.context_length - len(PROMPT)
    found = on_device(engine, SETTINGS["all"], most)
    assert len(found.token_ids) == most
    assert found.token_ids == on_host(engine, SETTINGS["all"], most).token_ids


@pytest.mark.parametrize("count", range(1, 12))
def test_an_answer_may_end_at_any_token_and_leaves_nothing(engine: Engine, count: int) -> None:
    """By max_tokens, by a token that ends it, by a stop string, or closed by its reader."""
    whole = on_host(engine, SETTINGS["plain"], 30)
    ids, settings = whole.token_ids, SETTINGS["plain"]
    assert on_device(engine, settings, count).token_ids == ids[:count]
    end = next(i for i, token in enumerate(ids) if token == ids[count - 1])
    ended = on_device(engine, settings, 30, end_ids=frozenset({ids[count - 1]}))
    assert (ended.token_ids, ended.finish_reason) == (ids[: end + 1], "stop")
    text = whole.text[: count + 1]
    stopped = on_device(engine, settings, 30, stop=(text[-2:],))
    assert whole.text.startswith(stopped.text)
    assert stopped.finish_reason == "stop"
    assert len(stopped.token_ids) == whole.text.index(text[-2:]) + 2
    with TextStream(SerialStepper(engine), answer(engine, settings)) as stream:
        assert tuple(next(stream).token_ids[0] for _ in range(count)) == ids[:count]


def test_batches_with_answers_of_all_lengths_are_the_answers_one_by_one(engine: Engine) -> None:
    """Six at once: a group of four, one of two; others take the places of those that end."""
    wishes = [
        (settings, 3 + 7 * index % 41) for index, settings in enumerate([*SETTINGS.values()] * 2)
    ]
    found = run_batch(SerialStepper(engine), [answer(engine, *wish) for wish in wishes])
    for generation, wish in zip(found, wishes, strict=True):
        assert generation.token_ids == on_host(engine, *wish).token_ids


def test_streams_side_by_side_do_not_disturb_each_other(engine: Engine) -> None:
    """One is read three times as fast, and one is not read for long, so that it must rest."""
    names = ["plain", "top-k", "greedy, penalized"]
    stepper = SerialStepper(engine)
    streams = [TextStream(stepper, answer(engine, SETTINGS[name], 90)) for name in names]
    found: list[list[int]] = [[], [], []]
    for turn in range(30):
        for index, share in enumerate((3, 1, 1 if turn % 25 == 0 else 0)):
            found[index] += [next(streams[index]).token_ids[0] for _ in range(share)]
    for index, stream in enumerate(streams):
        found[index] += [chunk.token_ids[0] for chunk in stream]
        assert tuple(found[index]) == on_host(engine, SETTINGS[names[index]], 90).token_ids


def test_a_sequence_goes_on_as_if_only_what_was_read_had_been_drawn(engine: Engine) -> None:
    source = answer(engine, SETTINGS["greedy, penalized"], 60)
    sequence, logits = prefilled(engine, np.array(PROMPT, np.int32))
    ids = [*PROMPT, source.accept(logits).token_ids[0]]
    draws = source.on_device()
    assert draws is not None
    engine.begin_drawing(sequence, draws)
    for _ in range(29):
        ids.append(source.accept_report(engine.next_reports([sequence])[0]).token_ids[0])
    assert sequence.length == len(ids) - 1
    found = engine.decode([sequence], np.array(ids[-1:], np.int32))[0]
    assert sequence.length == len(ids)
    assert len(sequence.pages) == -(-len(ids) // engine._pool.page_size)
    with pytest.raises(UsageError, match="draws no token"):
        engine.next_reports([sequence])
    engine.close_sequence(sequence)
    fresh, wanted = prefilled(engine, np.array(ids, np.int32))
    engine.close_sequence(fresh)
    assert np.abs(found - wanted).max() <= 0.02 * wanted.std()


def test_log_probabilities_are_still_the_hosts(engine: Engine) -> None:
    settings = replace(SETTINGS["plain"], logprobs=True, top_logprobs=2)
    steps = engine.ahead_statistics.steps if engine.ahead_statistics else 0
    found = on_device(engine, settings, 5)
    assert found.logprobs is not None
    assert len(found.logprobs) == 5
    assert engine.ahead_statistics is not None
    assert engine.ahead_statistics.steps == steps


def test_logits_that_are_not_finite_end_the_answer_with_the_hosts_error(engine: Engine) -> None:
    wanted = on_host(engine, GREEDY, 10).token_ids
    cosines = engine.backend.download(engine._rope[0])
    broken = cosines.copy()
    broken[len(PROMPT) + 3] = np.nan
    engine.backend.overwrite(engine._rope[0], broken)
    try:
        with pytest.raises(NumericError, match="are not finite"):
            on_host(engine, GREEDY, 10)
        with pytest.raises(NumericError, match="are not finite"):
            on_device(engine, GREEDY, 10)
    finally:
        engine.backend.overwrite(engine._rope[0], cosines)
    assert on_device(engine, GREEDY, 10).token_ids == wanted


def test_an_error_of_the_device_ends_the_answer_and_nothing_else(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = on_host(engine, GREEDY, 20).token_ids
    calls: list[int] = []
    real = ahead.DrawGroup.launch

    def fails_at_the_fifth(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise DeviceError("a launch", wanted="another", fix="none")
        return real(self, *arguments)

    monkeypatch.setattr(ahead.DrawGroup, "launch", fails_at_the_fifth)
    with pytest.raises(DeviceError, match="a launch"):
        on_device(engine, GREEDY, 20)
    assert on_device(engine, GREEDY, 20).token_ids == wanted


def test_steps_that_are_not_recorded_draw_the_same(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RECORDING, "off")
    with opener(build) as open_one:
        _, direct = open_one("vulkan nibbles", target="vulkan-subgroup8-dot")
        found = on_device(direct, SETTINGS["all"], 12)
        assert found.token_ids == on_host(direct, SETTINGS["all"], 12).token_ids


def test_libraries_for_processors_leave_draws_to_the_host(build: Build) -> None:
    with opener(build) as open_one:
        _, on_cpu = open_one("vulkan nibbles", device="cpu")
        assert not on_cpu.draws
        assert len(on_device(on_cpu, SETTINGS["all"], 5).token_ids) == 5
        sequence, logits = prefilled(on_cpu, np.array(PROMPT, np.int32))
        source = answer(on_cpu)
        source.accept(logits)
        draws = source.on_device()
        assert draws is not None
        with pytest.raises(UsageError, match="without kernels that draw"):
            on_cpu.begin_drawing(sequence, draws)
