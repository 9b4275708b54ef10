"""The draw of tokens: truncation, penalties, seeds, and what comes of bad logits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ferrylm.errors import NumericError
from ferrylm.runtime.likeliest import likeliest
from ferrylm.runtime.penalties import Penalties
from ferrylm.runtime.sampler import Sampler, candidates, index_at
from ferrylm.runtime.sampling_options import SamplingSettings

PLAIN = SamplingSettings(
    temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0,
    frequency_penalty=0.0, logit_bias={}, seed=1, logprobs=False, top_logprobs=0,
)  # fmt: skip

Logits = npt.NDArray[np.float32]
logit_rows = hnp.arrays(
    np.float32, st.integers(1, 300), elements=st.floats(-20, 20, width=32)
) | hnp.arrays(np.float32, st.integers(1, 300), elements=st.sampled_from([-1.0, 0.0, 0.5, 3.0]))


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def distribution(logits: Logits, **changes: Any) -> npt.NDArray[np.float64]:
    """Return float64 [vocab]: the probability with which each token is drawn."""
    ids, weights = candidates(logits, replace(PLAIN, **changes))
    whole = np.zeros(logits.size)
    whole[ids] = weights / weights.sum()
    return whole


@given(logits=logit_rows, count=st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_the_likeliest_are_the_head_of_a_stable_sort(logits: Logits, count: int) -> None:
    wanted = sorted(range(logits.size), key=lambda i: (-logits[i], i))[:count]
    assert likeliest(logits, count).tolist() == wanted


def test_the_likeliest_of_a_large_vocabulary_are_found_with_ties() -> None:
    logits = np.random.default_rng(3).integers(0, 50, 100_003).astype(np.float32)
    for count in (1, 2, 50, 1500, 2500, 100_002):
        wanted = np.argsort(-logits, kind="stable")[:count]
        np.testing.assert_array_equal(likeliest(logits, count), wanted)


@given(logits=logit_rows, temperature=st.floats(0.05, 50))
@settings(max_examples=200, deadline=None)
def test_without_truncation_the_distribution_is_softmax(logits: Logits, temperature: float) -> None:
    found = distribution(logits, temperature=temperature)
    np.testing.assert_allclose(found, softmax(logits, temperature), rtol=1e-4, atol=1e-12)
    assert math.isclose(found.sum(), 1.0, abs_tol=1e-12)


@given(logits=logit_rows, top_k=st.integers(1, 400))
@settings(max_examples=200, deadline=None)
def test_top_k_keeps_exactly_the_k_likeliest(logits: Logits, top_k: int) -> None:
    found = distribution(logits, top_k=top_k)
    kept = np.flatnonzero(found)
    assert kept.size == min(top_k, logits.size)
    wanted = softmax(logits)
    np.testing.assert_allclose(found[kept], wanted[kept] / wanted[kept].sum(), rtol=1e-5)
    left_out = np.setdiff1d(np.arange(logits.size), kept)
    assert left_out.size == 0 or logits[kept].min() >= logits[left_out].max()


@given(logits=logit_rows, top_p=st.floats(0, 1), top_k=st.sampled_from([0, 1, 7, 80]))
@settings(max_examples=400, deadline=None)
def test_top_p_keeps_the_smallest_set_that_reaches_it(
    logits: Logits, top_p: float, top_k: int
) -> None:
    before = distribution(logits, top_k=top_k)
    kept = np.flatnonzero(distribution(logits, top_k=top_k, top_p=top_p))
    mass = math.fsum(before[kept])
    rounding = 1e-9  # of float64 sums over 300 float32 weights
    assert kept.size >= 1
    assert mass >= top_p - rounding
    if kept.size > 1:
        assert mass - before[kept].min() < top_p + rounding, "one token fewer would do"


def test_top_p_of_an_almost_flat_distribution_keeps_its_share_of_the_tokens() -> None:
    logits = np.linspace(0, 1e-3, 5000, dtype=np.float32)
    assert np.count_nonzero(distribution(logits, top_p=0.9)) == pytest.approx(4500, abs=3)


@given(logits=logit_rows, min_p=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_min_p_keeps_what_is_probable_enough_beside_the_likeliest(
    logits: Logits, min_p: float
) -> None:
    found = distribution(logits, min_p=min_p)
    ratio = softmax(logits) / softmax(logits).max()
    assert np.all(found[ratio > min_p * (1 + 1e-5) + 1e-30] > 0)
    assert np.all(found[ratio < min_p * (1 - 1e-5)] == 0)


@given(logits=logit_rows)
@settings(max_examples=100, deadline=None)
def test_temperature_0_takes_the_likeliest_and_of_equals_the_lowest_id(logits: Logits) -> None:
    assert Sampler(replace(PLAIN, temperature=0.0), logits.size, []).draw(logits).token_id == (
        int(np.flatnonzero(logits == logits.max())[0])
    )


@pytest.mark.parametrize("temperature", [1e-320, 1e-38, 1e-9])
def test_tiny_temperatures_are_all_but_greedy(temperature: float) -> None:
    logits = np.array([1.0, 3.0, 2.999, -3.4e38], dtype=np.float32)
    assert distribution(logits, temperature=temperature).tolist() == [0, 1, 0, 0]


def test_huge_temperatures_are_all_but_uniform() -> None:
    logits = np.array([10.0, -10.0, 0.0, 5.0], dtype=np.float32)
    np.testing.assert_allclose(distribution(logits, temperature=1e6), 0.25, rtol=1e-4)


def test_extreme_penalties_do_not_overflow() -> None:
    logits = np.array([3e38, -3e38, 1.0], dtype=np.float32)
    for penalty in (5e-324, 1e6):
        sampler = Sampler(replace(PLAIN, repetition_penalty=penalty), 3, [0, 1])
        assert sampler.draw(logits).token_id == 0


@given(
    logits=hnp.arrays(np.float32, 12, elements=st.floats(-20, 20, width=32)),
    prompt=st.lists(st.integers(0, 11), max_size=5),
    penalty=st.floats(0.5, 2),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
    bias=st.dictionaries(st.integers(0, 11), st.floats(-100, 100), max_size=3),
    answer=st.lists(st.integers(0, 11), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_penalties_follow_their_published_formulas(
    logits: Logits, prompt: list[int], penalty: float, presence: float, frequency: float,
    bias: dict[int, float], answer: list[int],
) -> None:  # fmt: skip
    """Repetition: transformers, over prompt and answer; the others: OpenAI, over the answer."""
    changed = replace(
        PLAIN, repetition_penalty=penalty, presence_penalty=presence,
        frequency_penalty=frequency, logit_bias=bias,
    )  # fmt: skip
    penalties = Penalties(changed, 12, prompt)
    for token in answer:
        penalties.record(token)
    wanted = logits.astype(np.float64)
    for token in {*prompt, *answer}:
        wanted[token] = wanted[token] / penalty if wanted[token] > 0 else wanted[token] * penalty
    for token in set(answer):
        wanted[token] -= presence + frequency * answer.count(token)
    for token, value in bias.items():
        wanted[token] += value
    np.testing.assert_allclose(penalties.adjusted(logits), wanted, rtol=1e-6, atol=3e-5)


def test_the_sampler_draws_from_penalized_logits() -> None:
    """Greedy draws go round the tokens, each taken once less eagerly than before."""
    logits = np.array([1.0, 0.9, 0.8, -5.0], dtype=np.float32)
    sampler = Sampler(replace(PLAIN, temperature=0.0, frequency_penalty=0.5), 4, [])
    assert [sampler.draw(logits).token_id for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    biased = Sampler(replace(PLAIN, temperature=0.0, logit_bias={3: 10.0}), 4, [])
    assert biased.draw(logits).token_id == 3
    repeated = Sampler(replace(PLAIN, temperature=0.0, repetition_penalty=2.0), 4, [0])
    assert [repeated.draw(logits).token_id for _ in range(3)] == [1, 2, 0]


@pytest.mark.parametrize(
    ("uniform", "index"),
    [(0.0, 1), (0.2499, 1), (0.25, 3), (0.5, 3), (math.nextafter(1.0, 0.0), 3)],
)
def test_a_draw_falls_on_the_share_of_its_token_and_never_on_weight_0(
    uniform: float, index: int
) -> None:
    assert index_at(np.array([0.0, 1.0, 0.0, 3.0, 0.0]), uniform) == index


def draws(seed: int, count: int = 50) -> list[int]:
    sampler = Sampler(replace(PLAIN, seed=seed, top_p=0.9), 500, [])
    rows = np.random.default_rng(0).normal(size=(count, 500)).astype(np.float32)
    return [sampler.draw(row).token_id for row in rows]


def test_a_seed_repeats_its_draws_and_another_gives_others() -> None:
    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert draws(2**64 - 1) == draws(2**64 - 1)


def test_every_token_uses_one_uniform_number_whatever_is_cut_off() -> None:
    """The tenth draw is the same although the nine before had other settings of truncation."""
    row = np.random.default_rng(1).normal(size=400).astype(np.float32)
    last = []
    for spread in (0.01, 1.0, 30.0):
        sampler = Sampler(replace(PLAIN, min_p=0.1), 400, [])
        for _ in range(9):
            sampler.draw(row * np.float32(spread))
        last.append(sampler.draw(row).token_id)
    assert len(set(last)) == 1


@pytest.mark.parametrize("changes", [{}, {"top_k": 6}, {"top_p": 0.9}, {"min_p": 0.02}])
def test_tokens_come_as_often_as_their_probability_says(changes: dict[str, Any]) -> None:
    logits = np.array([2.0, 1.0, 0.5, 0.0, 0.0, -1.0, -2.0, -6.0], dtype=np.float32)
    sampler = Sampler(replace(PLAIN, seed=11, temperature=1.3, **changes), 8, [])
    count = 20_000
    drawn = np.bincount([sampler.draw(logits).token_id for _ in range(count)], minlength=8)
    wanted = distribution(logits, temperature=1.3, **changes) * count
    kept = wanted > 0
    assert np.all(drawn[~kept] == 0)
    chi_square = float(np.sum((drawn[kept] - wanted[kept]) ** 2 / wanted[kept]))
    assert chi_square < 24.3  # 99.9 % quantile for 7 degrees of freedom


@given(logits=logit_rows, top=st.integers(0, 20), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_logprobs_are_of_the_models_own_distribution(logits: Logits, top: int, seed: int) -> None:
    changed = replace(
        PLAIN, temperature=0.3, top_k=3, presence_penalty=1.0, logit_bias={0: 5.0}, seed=seed,
        logprobs=True, top_logprobs=top,
    )  # fmt: skip
    draw = Sampler(changed, logits.size, []).draw(logits)
    wanted = np.log(softmax(logits))
    assert draw.logprob == pytest.approx(wanted[draw.token_id], abs=1e-9)
    ranked = sorted(range(logits.size), key=lambda i: (-logits[i], i))[:top]
    assert [entry.token_id for entry in draw.top] == ranked
    assert [entry.logprob for entry in draw.top] == pytest.approx(wanted[ranked], abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 4999])
def test_a_logit_that_is_no_finite_number_never_becomes_a_token(
    bad: float, temperature: float, place: int
) -> None:
    logits = np.zeros(5000, dtype=np.float32)
    logits[place] = bad
    sampler = Sampler(replace(PLAIN, temperature=temperature), 5000, [])
    with pytest.raises(NumericError, match=f"token {place} is {bad}"):
        sampler.draw(logits)


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(NumericError, match=r"\(1, 8\)"):
        Sampler(PLAIN, 8, []).draw(np.zeros((1, 8), dtype=np.float32))


def test_the_callers_logits_are_left_as_they_are() -> None:
    logits = np.arange(8, dtype=np.float32)
    changed = replace(PLAIN, presence_penalty=2.0, repetition_penalty=1.5, logit_bias={1: 9.0})
    sampler = Sampler(changed, 8, [1, 2])
    for _ in range(4):
        sampler.draw(logits)
    np.testing.assert_array_equal(logits, np.arange(8))
