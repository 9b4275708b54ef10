"""How far a result may lie from its reference, and the functions that measure it.

Pure functions over numpy arrays; logits are [positions, vocabulary]. docs/correctness.md says
what each figure means and where the limits come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


def nmse(actual: ArrayLike, reference: ArrayLike) -> float:
    """Return the normalized mean square error: sum((a - r)^2) / sum(r^2).

    A result that is not finite has an infinite error; so has any deviation from all zeros.
    """
    wanted = np.asarray(reference, dtype=np.float64)
    found = _same_shape(actual, wanted)
    if not np.all(np.isfinite(found)):
        return float("inf")
    squared_error = float(np.sum((found - wanted) ** 2))
    power = float(np.sum(wanted**2))
    if power == 0.0:
        return 0.0 if squared_error == 0.0 else float("inf")
    return squared_error / power


def logits_error(actual: ArrayLike, reference: ArrayLike) -> float:
    """Return the largest |actual - reference| of any position, over that position's deviation.

    The deviation is the standard deviation of the reference's logits over the vocabulary.
    """
    return float(np.max(position_errors(actual, reference)))


def position_errors(actual: ArrayLike, reference: ArrayLike) -> Float64:
    """Return `logits_error` of each position by itself; infinite where actual is not finite.

    Raises ValueError for a constant row of the reference, which gives nothing to measure by.
    """
    wanted = _logits(reference)
    found = _same_shape(actual, wanted)
    deviation = np.std(wanted, axis=1)
    if np.any(deviation == 0.0):
        raise ValueError("a row of reference logits is constant")
    finite = np.all(np.isfinite(found), axis=1)
    error = np.max(np.abs(np.where(finite[:, None], found, 0.0) - wanted), axis=1) / deviation
    return np.where(finite, error, np.inf)


def log_softmax(logits: ArrayLike) -> Float64:
    """Return natural log-probabilities over the last axis, in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - np.max(wide, axis=-1, keepdims=True)
    result: Float64 = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return result


def kl_divergence(actual: ArrayLike, reference: ArrayLike) -> Float64:
    """Return KL(reference || actual) in nats for each position; infinite where actual is not.

    Rounding may make an exact 0 slightly negative; such values are returned as 0.
    """
    wanted = _logits(reference)
    found = _same_shape(actual, wanted)
    finite = np.all(np.isfinite(found), axis=1)
    reference_log = log_softmax(wanted)
    actual_log = log_softmax(np.where(finite[:, None], found, 0.0))
    divergence = np.sum(np.exp(reference_log) * (reference_log - actual_log), axis=1)
    return np.where(finite, np.maximum(divergence, 0.0), np.inf)


def top_gaps(reference: ArrayLike) -> Float64:
    """Return for each position how far the largest logit lies above the second."""
    wanted = _logits(reference)
    two = np.partition(wanted, wanted.shape[1] - 2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def top1_agreement(
    actual: ArrayLike, reference: ArrayLike, ignored_gap: float
) -> tuple[float, int]:
    """Return the share of positions with an equal likeliest token, and how many were counted.

    Positions whose two largest reference logits lie less than `ignored_gap` apart do not count.
    Raises ValueError if none is left: a share of nothing would prove nothing.
    """
    return compare(actual, reference).agreement(ignored_gap)


def token_losses(logits: ArrayLike, token_ids: ArrayLike) -> Float64:
    """Return the negative log-likelihood of each token but the first, in nats.

    `logits` [S, V] belong to `token_ids` [S]; row i predicts token i + 1.
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    if len(ids) < 2:
        raise ValueError("a loss needs at least two tokens")
    return -log_softmax(_logits(logits)[:-1])[np.arange(len(ids) - 1), ids[1:]]


def perplexity(logits: ArrayLike, token_ids: ArrayLike) -> float:
    """Return exp of the mean loss of a text's tokens."""
    return float(np.exp(np.mean(token_losses(logits, token_ids))))


def first_divergence(
    actual_ids: Sequence[int],
    reference_ids: Sequence[int],
    gaps: Sequence[float],
    ignored_gap: float,
) -> int | None:
    """Return the step at which a greedy text wrongly leaves its reference, or None.

    Leaving it at a step whose reference gap is below `ignored_gap` is right too, and ends the
    comparison. A text that is shorter than the reference diverges where it ends.
    """
    for step, (wanted, gap) in enumerate(zip(reference_ids, gaps, strict=True)):
        if step >= len(actual_ids):
            return step
        if actual_ids[step] != wanted:
            return None if gap < ignored_gap else step
    return None


@dataclass(frozen=True)
class Comparison:
    """Errors of each position of some logits: arrays of one length."""

    errors: Float64
    divergences: Float64
    same_top: NDArray[np.bool_]
    gaps: Float64

    def agreement(self, ignored_gap: float) -> tuple[float, int]:
        """Return what `top1_agreement` returns."""
        counted = self.gaps >= ignored_gap
        if not np.any(counted):
            raise ValueError("every position is a near-tie of the reference")
        return float(np.mean(self.same_top[counted])), int(np.sum(counted))


def compare(actual: ArrayLike, reference: ArrayLike) -> Comparison:
    """Compare logits [positions, vocabulary] with their reference, position by position."""
    wanted = _logits(reference)
    found = _same_shape(actual, wanted)
    finite = np.where(np.isfinite(found), found, -np.inf)
    return Comparison(
        errors=position_errors(found, wanted),
        divergences=kl_divergence(found, wanted),
        same_top=np.argmax(finite, axis=1) == np.argmax(wanted, axis=1),
        gaps=top_gaps(wanted),
    )


def join(parts: Sequence[Comparison]) -> Comparison:
    """Put the positions of several texts together."""
    return Comparison(
        errors=np.concatenate([part.errors for part in parts]),
        divergences=np.concatenate([part.divergences for part in parts]),
        same_top=np.concatenate([part.same_top for part in parts]),
        gaps=np.concatenate([part.gaps for part in parts]),
    )


@dataclass(frozen=True)
class Measurement:
    """Implementation error of some logits against their reference."""

    positions: int
    logits_error: float  # of the standard deviation of the logits
    mean_kld: float  # nats
    kld_999: float  # 99.9th percentile, nats
    top1: float  # share of the positions that are no near-tie
    top1_positions: int


@dataclass(frozen=True)
class Gate:
    """The largest implementation error of one class of arithmetic: same weights on both sides."""

    name: str
    operator_nmse: float
    matmul_nmse: float
    logits_error: float
    mean_kld: float
    kld_999: float
    top1: float
    ignored_gap: float  # logits; smaller gaps of the reference are near-ties

    def measure(self, actual: ArrayLike, reference: ArrayLike) -> Measurement:
        """Compare logits [positions, vocabulary] with their reference."""
        return self.summarize(compare(actual, reference))

    def summarize(self, comparison: Comparison) -> Measurement:
        """Return the figures that this gate limits."""
        share, counted = comparison.agreement(self.ignored_gap)
        # Without interpolation, which could turn an infinite neighbour into NaN.
        percentile = float(np.quantile(comparison.divergences, 0.999, method="higher"))
        return Measurement(
            positions=len(comparison.divergences),
            logits_error=float(np.max(comparison.errors)),
            mean_kld=float(np.mean(comparison.divergences)),
            kld_999=percentile,
            top1=share,
            top1_positions=counted,
        )

    def violations(self, found: Measurement) -> list[str]:
        """Return one sentence for each limit that a measurement breaks."""
        limits = (
            ("logits error", found.logits_error, self.logits_error),
            ("mean KLD", found.mean_kld, self.mean_kld),
            ("99.9 % KLD", found.kld_999, self.kld_999),
        )
        broken = [
            f"{what} is {value:.3g}, {self.name} allows {limit:.3g}"
            for what, value, limit in limits
            if not value <= limit
        ]
        if not found.top1 >= self.top1:
            broken.append(f"top-1 agreement is {found.top1:.4f}, {self.name} wants {self.top1:.4f}")
        return broken


FP32 = Gate("fp32", 1e-10, 1e-10, 1e-4, 1e-8, 1e-6, 1.0, 1e-3)
FP16 = Gate("fp16", 1e-6, 5e-6, 2e-2, 1e-4, 2e-3, 0.999, 5e-2)
BF16 = Gate("bf16", 1e-4, 1e-4, 1e-1, 1e-3, 2e-2, 0.995, 5e-2)
# Matmuls on activations rounded to int8 by groups of 32, all else in fp32. Twice what the
# float64 reference shows when it rounds in the same way; see docs/correctness.md.
INT8 = Gate("int8", 1e-10, 1e-4, 1.5, 6e-3, 1e-1, 0.99, 2e-1)

# Products of inputs and weights rounded to float16, summed in fp32, as matrix units do. The float64
# reference that rounds in the same way errs by 2.5e-2 at its worst logit: twice that, else fp16.
FP16_PRODUCTS = Gate("fp16-products", 1e-6, 5e-6, 5e-2, 1e-4, 2e-3, 0.999, 5e-2)

GATES = {gate.name: gate for gate in (FP32, FP16, FP16_PRODUCTS, BF16, INT8)}


def gate_of(arithmetic: str, kv_dtype: str) -> Gate:
    """Return the gate of a library's arithmetic and of the type of its keys and values."""
    if arithmetic == "int8":
        return INT8
    narrow = {"f16": FP16, "float16": FP16, "bf16": BF16, "bfloat16": BF16}
    return narrow.get(arithmetic) or narrow.get(kv_dtype) or FP32


def beyond_expected(found: Measurement, expected: Measurement, factor: float = 1.5) -> str | None:
    """Say how an error exceeds what its arithmetic has to cost, or return None.

    `expected` is the same measurement of a float64 reference that rounds as the arithmetic does.
    """
    if found.mean_kld <= factor * expected.mean_kld:
        return None
    return (
        f"mean KLD is {found.mean_kld:.3g}, the arithmetic alone costs {expected.mean_kld:.3g}"
        f" and {factor} times that is allowed"
    )


def _logits(values: ArrayLike) -> Float64:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"logits of shape {array.shape}, not [positions, vocabulary]")
    return array


def _same_shape(actual: ArrayLike, reference: Float64) -> Float64:
    array = np.asarray(actual, dtype=np.float64)
    if array.shape != reference.shape:
        raise ValueError(f"shape {array.shape} differs from the reference's {reference.shape}")
    return array
