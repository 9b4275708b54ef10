"""Tokens drawn by kernels beside those of the host's sampler, on the same uniform numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.runtime.draw_layout import Report
from ferrylm.runtime.draw_settings import uniform_numbers
from ferrylm.runtime.penalties import Penalties
from ferrylm.runtime.sampler import Sampler
from ferrylm.runtime.sampling_options import SamplingSettings
from tests.schedules.gpu.sampling_runner import PLAIN, Device, Floats, host_token, may_be_drawn

SHAPES = {5: 3, 300: 8, 2047: 8, 49_152: 2, 130_001: 1}  # vocabulary -> rows
STEPS = {5: 40, 300: 60, 2047: 40, 49_152: 12, 130_001: 10}


def random_settings(random: np.random.Generator, vocabulary: int) -> SamplingSettings:
    """Return settings of which some are neutral and some at their ends."""

    def one(*values: Any) -> Any:
        return values[random.integers(len(values))]

    some_k = int(random.integers(1, min(vocabulary, 100)))
    return replace(
        PLAIN,
        temperature=one(0.0, 0.3, 0.7, 1.0, 1.0, 2.5),
        top_k=one(0, 0, 0, 1, some_k, some_k, vocabulary - 1, vocabulary, vocabulary + 7),
        top_p=one(1.0, 1.0, 0.0, 0.5, 0.9, 0.95, 0.999),
        min_p=one(0.0, 0.0, 0.0, 0.02, 0.3, 1.0),
        repetition_penalty=one(1.0, 1.0, 1.3, 0.7),
        presence_penalty=one(0.0, 0.0, 0.6),
        frequency_penalty=one(0.0, 0.0, 0.25, -0.5),
        logit_bias=one({}, {}, {0: 4.0, vocabulary - 1: -100.0}),
        seed=int(random.integers(1 << 40)),
    )  # fmt: skip


def random_logits(random: np.random.Generator, vocabulary: int) -> Floats:
    """Return a row as models give them, or one that is flat, steep, or full of equals."""
    kind = random.integers(4)
    row = random.standard_normal(vocabulary)
    if kind == 0:
        row = np.round(row * 2) * 0.5
    elif kind == 1:
        row *= 1e-3
    else:
        row = row * 3 + 8 * (random.random(vocabulary) < 20 / vocabulary)
    found: Floats = row.astype(np.float32)
    return found


@pytest.mark.parametrize("vocabulary", SHAPES)
def test_kernels_draw_what_the_host_draws(vocabulary: int) -> None:
    random = np.random.default_rng(vocabulary)
    rows, same, total = SHAPES[vocabulary], 0, 0
    for _ in range(STEPS[vocabulary]):
        settings = [random_settings(random, vocabulary) for _ in range(rows)]
        prompts = [random.integers(0, vocabulary, 6).tolist() for _ in range(rows)]
        uniforms = uniform_numbers(random, rows).reshape(rows, 1)
        device = Device(vocabulary, settings, uniforms, prompts)
        logits = np.array([random_logits(random, vocabulary) for _ in range(rows)])
        tokens = device.step(logits).report[:, Report.TOKEN]
        for row, token in enumerate(tokens.tolist()):
            adjusted = Penalties(settings[row], vocabulary, prompts[row]).adjusted(logits[row])
            uniform = float(uniforms[row, 0])
            assert may_be_drawn(token, adjusted, settings[row], uniform), settings[row]
            same += token == host_token(adjusted, settings[row], uniform)
            total += 1
    # Of a flat distribution over 130,001 tokens one draw in a few falls beside a boundary.
    assert same >= (0.99 if vocabulary < 10_000 else 0.9) * total


@pytest.mark.parametrize("vocabulary", [5, 300])
def test_an_answer_of_many_tokens_is_the_hosts(vocabulary: int) -> None:
    """Penalties grow with the answer; positions, uniform numbers and the ring go on."""
    random = np.random.default_rng(vocabulary + 1)
    rows, length = SHAPES[vocabulary], 40
    settings = [random_settings(random, vocabulary) for _ in range(rows)]
    settings[0] = replace(PLAIN, temperature=0.0, frequency_penalty=0.3, presence_penalty=0.2)
    settings[1] = replace(PLAIN, repetition_penalty=1.2, top_k=40, top_p=0.95)
    prompts = [random.integers(0, vocabulary, 3).tolist() for _ in range(rows)]
    streams = [np.random.Generator(np.random.PCG64(each.seed)) for each in settings]
    uniforms = np.array([uniform_numbers(stream, length) for stream in streams])
    device = Device(vocabulary, settings, uniforms, prompts)
    samplers = [
        Sampler(each, vocabulary, prompt) for each, prompt in zip(settings, prompts, strict=True)
    ]
    for step in range(length):
        logits = np.array([random_logits(random, vocabulary) for _ in range(rows)])
        drawn = device.step(logits)
        wanted = [sampler.draw(row).token_id for sampler, row in zip(samplers, logits, strict=True)]
        np.testing.assert_array_equal(drawn.report[:, Report.TOKEN], wanted)
        np.testing.assert_array_equal(drawn.tokens, wanted)
        np.testing.assert_array_equal(drawn.positions, np.arange(rows) + 11 + step)


@pytest.mark.parametrize("changes", [
    {"top_k": 50}, {"top_k": 7, "top_p": 0.5}, {"top_p": 0.4}, {"top_k": 777}, {"min_p": 0.9},
])  # fmt: skip
def test_of_equal_logits_the_lowest_ids_are_kept(changes: dict[str, Any]) -> None:
    """A row of one value, and one of few values: every boundary falls among equals."""
    vocabulary, rows = 2047, 8
    random = np.random.default_rng(5)
    settings = [replace(PLAIN, **changes)] * rows
    uniforms = np.linspace(0.01, 0.99, rows, dtype=np.float32).reshape(rows, 1)
    for values in (1, 4):
        logits = random.integers(0, values, (rows, vocabulary)).astype(np.float32)
        tokens = Device(vocabulary, settings, uniforms).step(logits).report[:, Report.TOKEN]
        for row, token in enumerate(tokens.tolist()):
            assert may_be_drawn(token, logits[row], settings[row], float(uniforms[row, 0]))


def test_draws_are_distributed_as_the_probabilities_say() -> None:
    """Chi-square with 4 degrees of freedom; 18.5 is exceeded once in a thousand seeds."""
    vocabulary, rows, steps = 5, 3, 400
    logits = np.array([1.0, 0.0, -0.5, 0.7, -2.0], np.float32)
    random = np.random.default_rng(11)
    uniforms = uniform_numbers(random, rows * steps).reshape(rows, steps)
    device = Device(vocabulary, [PLAIN] * rows, uniforms)
    counts = np.zeros(vocabulary)
    for _ in range(steps):
        tokens = device.step(np.tile(logits, (rows, 1))).report[:, Report.TOKEN]
        counts += np.bincount(tokens, minlength=vocabulary)
    wanted = np.exp(logits.astype(np.float64))
    wanted *= rows * steps / wanted.sum()
    assert ((counts - wanted) ** 2 / wanted).sum() < 18.5


def test_the_same_numbers_draw_the_same_tokens_bit_for_bit() -> None:
    random = np.random.default_rng(3)
    logits = (random.standard_normal((2, 49_152)) * 1e-2).astype(np.float32)
    uniforms = uniform_numbers(random, 2).reshape(2, 1)
    settings = [replace(PLAIN, top_p=0.8), replace(PLAIN, temperature=2.0)]
    found = [Device(49_152, settings, uniforms).step(logits).report.tolist() for _ in range(5)]
    assert all(report == found[0] for report in found)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_reported(bad: float, temperature: float) -> None:
    logits = np.zeros((8, 300), np.float32)
    logits[2, [299, 17, 255]] = bad
    device = Device(300, [replace(PLAIN, temperature=temperature)] * 8, np.full((8, 1), 0.5, "f4"))
    report = device.step(logits).report
    assert report[2, Report.NOT_FINITE] == 3
    assert report[2, Report.FIRST_BAD] == 17
    value = report[2, Report.BAD_BITS].view(np.float32)
    np.testing.assert_equal(value, np.float32(bad))
    assert (np.delete(report[:, Report.NOT_FINITE], 2) == 0).all()
    assert 0 <= device.step(logits).report[2, Report.TOKEN] < 300


def test_rows_of_padding_do_nothing_and_slots_go_with_their_rows() -> None:
    logits = np.random.default_rng(0).standard_normal((8, 300)).astype(np.float32)
    greedy = replace(PLAIN, temperature=0.0)
    top = replace(PLAIN, temperature=0.0, logit_bias={123: 50.0})
    slots = [-1, 1, -1, 0, -1, -1, -1, -1]
    device = Device(300, [greedy, top], np.zeros((2, 1), "f4"), slots=slots)
    drawn = device.step(logits)
    assert drawn.tokens.tolist() == [7, 123, 7, int(logits[3].argmax()), 7, 7, 7, 7]
    assert drawn.positions.tolist() == [10, 12, 12, 14, 14, 15, 16, 17]
    assert (drawn.report[[0, 2, 4, 5, 6, 7]] == -5).all()


def test_uniform_numbers_are_used_round_and_round_and_ring_entries_too() -> None:
    random = np.random.default_rng(1)
    uniforms = uniform_numbers(random, 3 * 1024).reshape(3, 1024)
    device = Device(5, [PLAIN] * 3, uniforms)
    logits = np.zeros((3, 5), np.float32)
    drawn = [device.step(logits).report[:, Report.TOKEN] for _ in range(1030)]
    np.testing.assert_array_equal(drawn[1024:], drawn[:6])
    np.testing.assert_array_equal(drawn[:1024], np.floor(uniforms * 5).T.astype(int))
