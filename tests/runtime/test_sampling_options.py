"""Sampling options are checked when they are made, and completed by a written rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ferrylm.errors import UsageError
from ferrylm.runtime.manifest import GenerationDefaults
from ferrylm.runtime.sampling_options import SamplingOptions, SamplingSettings, resolve_options


def resolved(
    options: SamplingOptions | None = None, defaults: GenerationDefaults | None = None
) -> SamplingSettings:
    return resolve_options(options or SamplingOptions(), defaults or GenerationDefaults(), 100)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("temperature", -0.1, "0 to 1e+06"),
        ("temperature", math.nan, "0 to"),
        ("temperature", math.inf, "0 to"),
        ("temperature", "1", "a number"),
        ("temperature", True, "a number"),
        ("temperature", 10**400, "0 to"),
        ("top_p", 1.01, "0 to 1"),
        ("min_p", -1, "0 to 1"),
        ("top_k", -1, "0 to 2147483647"),
        ("top_k", 1.5, "an integer"),
        ("repetition_penalty", 0, "above 0"),
        ("presence_penalty", 2.1, "-2 to 2"),
        ("frequency_penalty", None, "-2 to 2"),
        ("seed", -1, "0 to 18446744073709551615"),
        ("seed", 2**64, "0 to 18446744073709551615"),
        ("seed", True, "an integer"),
        ("logprobs", 1, "True or False"),
        ("top_logprobs", 21, "0 to 20"),
        ("top_logprobs", 3, "logprobs is True"),
        ("logit_bias", [1], "a mapping"),
        ("logit_bias", {1: 101}, "-100 to 100"),
        ("logit_bias", {-1: 1}, "an integer from 0"),
        ("logit_bias", {None: 1}, "an integer from 0"),
        ("logit_bias", {"1": 1}, "an integer from 0"),
        ("logit_bias", {1: math.nan}, "-100 to 100"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_range(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(UsageError) as caught:
        SamplingOptions(**{name: value})
    assert name in str(caught.value)
    assert allowed in caught.value.wanted


def test_numbers_of_numpy_are_numbers() -> None:
    options = SamplingOptions(temperature=np.float32(0.5), top_k=np.int64(3), seed=np.uint64(9))  # type: ignore[arg-type]
    assert resolved(options).top_k == 3


def test_options_of_another_type_are_refused() -> None:
    with pytest.raises(UsageError, match="SamplingOptions"):
        resolved({"temperature": 0.5})  # type: ignore[arg-type]


def test_a_biased_token_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(UsageError, match="100"):
        resolved(SamplingOptions(logit_bias={100: 1.0}))


def test_a_silent_maker_and_a_silent_caller_get_the_documented_fallback() -> None:
    settings = resolved()
    assert (settings.temperature, settings.top_p, settings.top_k) == (0.7, 0.95, 0)


def test_a_caller_who_sets_any_truncation_gets_neutral_values_for_the_rest() -> None:
    settings = resolved(SamplingOptions(temperature=1.0))
    assert (settings.top_p, settings.top_k, settings.min_p) == (1.0, 0, 0.0)
    assert resolved(SamplingOptions(top_k=5)).temperature == 1.0


def test_the_makers_values_fill_what_the_caller_leaves_open() -> None:
    maker = GenerationDefaults(temperature=0.6, top_k=20, repetition_penalty=1.1)
    settings = resolved(SamplingOptions(temperature=0.2), maker)
    assert (settings.temperature, settings.top_k) == (0.2, 20)
    assert (settings.top_p, settings.repetition_penalty) == (1.0, 1.1)


def test_a_makers_value_out_of_range_is_named() -> None:
    with pytest.raises(UsageError, match="repetition_penalty"):
        resolved(defaults=GenerationDefaults(repetition_penalty=0.0))


def test_a_seed_left_open_is_chosen_and_told() -> None:
    assert resolved(SamplingOptions(seed=5)).seed == 5
    assert resolved().seed != resolved().seed
