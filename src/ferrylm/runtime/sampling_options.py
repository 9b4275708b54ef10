"""How the next token is drawn: the options a caller gives, and the settings they resolve to."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TypeVar, cast

from ferrylm.errors import UsageError
from ferrylm.runtime.manifest import GenerationDefaults

FALLBACK_TEMPERATURE = 0.7
FALLBACK_TOP_P = 0.95
MAX_TOP_LOGPROBS = 20
MAX_SEED = 2**64 - 1

_TINY = math.nextafter(0.0, 1.0)
_NUMBER_RANGES = {
    "temperature": (0.0, 1e6),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (_TINY, 1e6),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
_INTEGER_RANGES = {
    "top_k": (0, 2**31 - 1),
    "seed": (0, MAX_SEED),
    "top_logprobs": (0, MAX_TOP_LOGPROBS),
}
_NEVER_NONE = ("presence_penalty", "frequency_penalty", "top_logprobs")
_BIAS_RANGE = (-100.0, 100.0)

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class SamplingOptions:
    """What a caller wants of the draw; None leaves a setting to the model's maker.

    temperature: 0 takes the likeliest token (the lowest id of equals), 1 is the model's own
        distribution. 0 to 1e6.
    top_k: keep the k likeliest tokens; 0 keeps all.
    top_p: keep the fewest likeliest tokens whose probabilities sum to at least this. 0 to 1.
    min_p: keep tokens at least this probable relative to the likeliest one. 0 to 1.
    repetition_penalty: divide positive and multiply negative logits of tokens of the prompt and
        of the answer by this (Keskar et al. 2019, as in transformers). Above 0; 1 is none.
    presence_penalty, frequency_penalty: subtract this once, and once per occurrence, from the
        logits of the tokens of the answer, as OpenAI's API does. -2 to 2.
    logit_bias: added to the logits of these token ids. -100 to 100.
    seed: two runs with the same seed, prompt and options draw the same tokens; None takes a
        fresh one. 0 to 2**64 - 1.
    logprobs: report the log-probability of each token.
    top_logprobs: report so many of the likeliest tokens as well; needs `logprobs`. 0 to 20.

    Raises UsageError for a value of the wrong type or out of range.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _NUMBER_RANGES.items():
            if getattr(self, name) is not None or name in _NEVER_NONE:
                _check_number(name, getattr(self, name), lowest, highest)
        for name, (first, last) in _INTEGER_RANGES.items():
            if getattr(self, name) is not None or name in _NEVER_NONE:
                _check_integer(name, getattr(self, name), first, last)
        _check_bias(self.logit_bias)
        if not isinstance(self.logprobs, bool):
            raise _refusal("logprobs", self.logprobs, "True or False")
        if self.top_logprobs and not self.logprobs:
            raise _refusal("top_logprobs", self.top_logprobs, "0 unless logprobs is True")


@dataclass(frozen=True)
class SamplingSettings:
    """`SamplingOptions` with every question answered."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    seed: int
    logprobs: bool
    top_logprobs: int


def resolve_options(
    options: SamplingOptions, defaults: GenerationDefaults, vocab_size: int
) -> SamplingSettings:
    """Fill in what the caller left open.

    Each setting is the caller's, else the maker's, else neutral (temperature 1, no truncation).
    Where the maker says nothing at all and the caller sets none of temperature, top_k, top_p and
    min_p, temperature is 0.7 and top_p 0.95.

    Raises UsageError for a maker's value out of range, and for a biased token that is not in the
    vocabulary.
    """
    if not isinstance(options, SamplingOptions):
        raise _refusal("options", options, "a SamplingOptions")
    _check_bias_ids(options.logit_bias, vocab_size)
    truncation = (options.temperature, options.top_k, options.top_p, options.min_p)
    silent = defaults == GenerationDefaults() and all(value is None for value in truncation)
    chosen = SamplingOptions(
        temperature=_first(options.temperature, defaults.temperature),
        top_k=_first(options.top_k, defaults.top_k),
        top_p=_first(options.top_p, defaults.top_p),
        min_p=_first(options.min_p, defaults.min_p),
        repetition_penalty=_first(options.repetition_penalty, defaults.repetition_penalty),
    )
    neutral_temperature = FALLBACK_TEMPERATURE if silent else 1.0
    neutral_top_p = FALLBACK_TOP_P if silent else 1.0
    return SamplingSettings(
        temperature=_value(chosen.temperature, neutral_temperature),
        top_k=_value(chosen.top_k, 0),
        top_p=_value(chosen.top_p, neutral_top_p),
        min_p=_value(chosen.min_p, 0.0),
        repetition_penalty=_value(chosen.repetition_penalty, 1.0),
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        logit_bias=dict(options.logit_bias),
        seed=secrets.randbits(63) if options.seed is None else int(options.seed),
        logprobs=options.logprobs,
        top_logprobs=options.top_logprobs,
    )


def _first(ours: N | None, theirs: N | None) -> N | None:
    return theirs if ours is None else ours


def _value(value: N | None, neutral: N) -> N:
    return neutral if value is None else value


def _refusal(name: str, found: object, wanted: str) -> UsageError:
    return UsageError(f"{name} is {ascii(found)[:80]}", wanted=wanted, fix=f"give another {name}")


def _check_number(name: str, value: object, lowest: float, highest: float) -> None:
    wanted = f"a number from {lowest:g} to {highest:g}"
    if lowest == _TINY:
        wanted = f"a number above 0, to {highest:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _refusal(name, value, wanted)
    if not lowest <= cast("float", value) <= highest:  # NaN fails every comparison
        raise _refusal(name, value, wanted)


def _check_integer(name: str, value: object, lowest: int, highest: int) -> None:
    wanted = f"an integer from {lowest} to {highest}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _refusal(name, value, wanted)
    if not lowest <= cast("int", value) <= highest:
        raise _refusal(name, value, wanted)


def _check_bias(bias: object) -> None:
    if not isinstance(bias, Mapping):
        raise _refusal("logit_bias", bias, "a mapping from token id to number")
    for token_id, value in bias.items():
        _check_integer("a key of logit_bias", token_id, 0, 2**31 - 1)
        _check_number(f"logit_bias[{token_id}]", value, *_BIAS_RANGE)


def _check_bias_ids(bias: Mapping[int, float], vocab_size: int) -> None:
    for token_id in bias:
        _check_integer("a key of logit_bias", token_id, 0, vocab_size - 1)
