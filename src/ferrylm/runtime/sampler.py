"""The draw of the next token from a row of logits, in numpy on the host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ferrylm.errors import NumericError
from ferrylm.runtime.draw_settings import LOWEST_TEMPERATURE, settings_row
from ferrylm.runtime.draw_slots import AnswerDraws
from ferrylm.runtime.likeliest import fewest_with_mass, likeliest, smallest_count
from ferrylm.runtime.penalties import Penalties
from ferrylm.runtime.sampling_options import SamplingSettings

Ids = npt.NDArray[np.intp]
Logits = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TokenLogprob:
    """The natural logarithm of one token's probability."""

    token_id: int
    logprob: float


@dataclass(frozen=True)
class Draw:
    """A drawn token; `logprob` and `top` are empty unless the settings ask for them.

    Log-probabilities are of the model's own distribution: before bias, penalties, temperature
    and truncation. `top` is sorted, likeliest first, and holds the drawn token only if it is
    among the likeliest.
    """

    token_id: int
    logprob: float | None
    top: tuple[TokenLogprob, ...]


class Sampler:
    """The draws of one sequence.

    Order of operations: repetition penalty, presence and frequency penalty, bias, temperature,
    top-k, top-p (of what top-k left), min-p. One uniform number of a PCG64 stream is used per
    token, so that a sequence draws the same tokens whatever else runs beside it.
    """

    def __init__(
        self, settings: SamplingSettings, vocab_size: int, prompt_ids: Iterable[int]
    ) -> None:
        self._settings = settings
        self._vocab_size = vocab_size
        self._random = np.random.Generator(np.random.PCG64(settings.seed))
        self._penalties = Penalties(settings, vocab_size, prompt_ids)

    def draw(self, logits: Logits) -> Draw:
        """Draw the next token from float32 [vocab_size] logits, which are left as they are.

        Raises NumericError if one of them is not a finite number: no token ever comes of those.
        """
        self._check(logits)
        adjusted = self._penalties.adjusted(logits)
        if self._settings.temperature == 0:
            token_id = int(np.argmax(adjusted))
        else:
            ids, weights = candidates(adjusted, self._settings)
            token_id = int(ids[index_at(weights, self._random.random())])
        self._penalties.record(token_id)
        if not self._settings.logprobs:
            return Draw(token_id, None, ())
        return self._with_logprobs(token_id, logits)

    def on_device(self, last_id: int, most: int) -> AnswerDraws | None:
        """Return how a device is to draw up to `most` more tokens; None if it cannot.

        It cannot report log-probabilities. From then on tokens come by `accept`.
        """
        if self._settings.logprobs or most < 1:
            return None
        penalties = self._penalties
        changes = penalties.repeats or penalties.shifts
        return AnswerDraws(
            last_id=last_id,
            most=most,
            settings=settings_row(self._settings, penalties),
            random=self._random,
            seen=penalties.seen() if changes else None,
            offsets=penalties.offsets() if penalties.shifts else None,
        )

    def accept(self, report: npt.NDArray[np.int32]) -> Draw:
        """Return the token of a device's report (draw_layout.py). Raises NumericError."""
        token_id, bad_count, first_bad, bits = report.tolist()
        if bad_count:
            value = np.array([bits], np.int32).view(np.float32)[0]
            raise self._not_finite(first_bad, float(value), bad_count)
        return Draw(token_id, None, ())

    def _check(self, logits: Logits) -> None:
        if logits.shape != (self._vocab_size,):
            raise NumericError(
                f"logits of shape {logits.shape}",
                wanted=f"[{self._vocab_size}]",
                fix="this is a defect of the engine: please report it",
            )
        finite = np.isfinite(logits)
        if not finite.all():
            bad = int(np.argmin(finite))
            raise self._not_finite(bad, float(logits[bad]), int(np.count_nonzero(~finite)))

    def _not_finite(self, bad: int, value: float, count: int) -> NumericError:
        return NumericError(
            f"the model's logit of token {bad} is {value} "
            f"({count} of {self._vocab_size} are not finite)",
            wanted="finite logits",
            fix="run ferry verify on the artifact; the sequence was ended",
        )

    def _with_logprobs(self, token_id: int, logits: Logits) -> Draw:
        wide = logits.astype(np.float64)
        highest = wide.max()
        normalizer = highest + np.log(np.exp(wide - highest).sum())
        best = likeliest(logits, self._settings.top_logprobs)
        top = tuple(TokenLogprob(int(i), float(wide[i] - normalizer)) for i in best)
        return Draw(token_id, float(wide[token_id] - normalizer), top)


def candidates(adjusted: Logits, settings: SamplingSettings) -> tuple[Ids, Weights]:
    """Return the tokens that may be drawn and their probabilities times some constant.

    `adjusted` is float32 [vocab_size] with penalties and bias. The ids rise, which is also the
    order of the kernels that draw on a device. The temperature must not be 0.
    """
    if 0 < settings.top_k < adjusted.size:
        ids = likeliest(adjusted, settings.top_k)
        weights = _weights(adjusted[ids], settings.temperature)
        if settings.top_p < 1:
            count = smallest_count(weights, settings.top_p * float(weights.sum()))
            ids, weights = ids[:count], weights[:count]
        rising = np.argsort(ids)
        ids, weights = ids[rising], weights[rising]
    elif settings.top_p < 1:
        weights = _weights(adjusted, settings.temperature)
        ids = fewest_with_mass(weights, settings.top_p * float(weights.sum()))
        weights = weights[ids]
    else:
        ids = np.arange(adjusted.size)
        weights = _weights(adjusted, settings.temperature)
    if settings.min_p > 0:
        kept = weights >= settings.min_p * weights.max()
        ids, weights = ids[kept], weights[kept]
    return ids, weights


def _weights(logits: Logits, temperature: float) -> Weights:
    """Return exp((logits - highest) / temperature) as float64; the largest weight is 1."""
    divisor = np.float32(max(temperature, LOWEST_TEMPERATURE))
    with np.errstate(over="ignore", under="ignore"):
        weights: Weights = np.exp((logits - logits.max()) / divisor).astype(np.float64)
    return weights


def index_at(weights: Weights, uniform: float) -> int:
    """Return the index that a number of [0, 1) falls on; never one of weight 0."""
    sums = np.cumsum(weights)
    index = int(np.searchsorted(sums, uniform * sums[-1], side="right"))
    # Rounding may carry the product up to the last sum itself: the last token that adds to it.
    return min(index, int(np.searchsorted(sums, sums[-1], side="left")))
