"""Round float32 weights to 4- and 8-bit groups with little error.

Each function takes finite float32 [rows, groups, 32]. Scales are rounded to float16 first and the
codes chosen for the rounded scale, so that the stored numbers are the ones that were judged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.quantize_repack import Groups, pack_nibbles

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]

# What the largest weight of a group is divided by to get a scale: 8 is the plain choice, which
# puts it on the lowest code; smaller ones leave room on the other side, larger ones clip it.
_Q4_DIVISORS = (-8.0, -7.5, -7.0, -6.5, -8.5, -9.0)
_Q4_AFFINE_SHARES = (1.0, 0.93, 0.86)  # of the span from smallest to largest weight


def _to_half(values: Floats) -> Halves:
    """Round to float16; what does not fit becomes infinite, and the caller refuses it."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def _inverse(scale: Floats) -> Floats:
    """Return 1 / scale, and 0 for a group whose scale is 0 or too small to have an inverse."""
    usable = np.abs(scale) > np.finfo(np.float32).tiny
    inverse: Floats = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=usable)
    return inverse


def _dot(left: Floats, right: Floats) -> Floats:
    result: Floats = np.einsum("ij,ij->i", left, right)
    return result


def round_q8(weights: Floats) -> Groups:
    """Round to q8: the largest weight of a group gets code 127 or -127."""
    rows = weights.shape[0]
    scale = _to_half(np.abs(weights).max(axis=2) / np.float32(127))
    codes = np.rint(weights * _inverse(scale.astype(np.float32))[:, :, None])
    codes = np.clip(codes, -127, 127, out=codes)
    return Groups(codes.astype(np.int8).reshape(rows, -1), scale)


def round_q4(weights: Floats) -> Groups:
    """Round to q4 without minimum: of a few scales per group, the one of least squared error.

    Each candidate's codes give the scale that suits them best (least squares), as in ggml's
    make_qx_quants; the plain choice is among the candidates.
    """
    rows = weights.shape[0]
    flat = weights.reshape(-1, 32)
    largest = np.take_along_axis(flat, np.abs(flat).argmax(axis=1)[:, None], axis=1)[:, 0]
    best = _to_half(largest / np.float32(-8))
    best_loss = np.full(len(flat), np.inf, np.float32)
    codes = np.empty_like(flat)
    for divisor in _Q4_DIVISORS:
        _q4_codes(flat, largest / np.float32(divisor), codes)
        energy = _dot(codes, codes)
        match = _dot(flat, codes)
        scale = _to_half(np.divide(match, energy, out=np.zeros_like(match), where=energy > 0))
        wide = scale.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # of weights that float16 cannot hold
            loss = wide * (wide * energy - 2 * match)
        better = (loss < best_loss) & np.isfinite(scale)
        best = np.where(better, scale, best)
        best_loss = np.where(better, loss, best_loss)
    _q4_codes(flat, best.astype(np.float32), codes)
    codes += 8
    return Groups(pack_nibbles(codes.astype(np.uint8)).reshape(rows, -1), best.reshape(rows, -1))


def _q4_codes(weights: Floats, scale: Floats, codes: Floats) -> None:
    """Write the nearest codes of -8 to 7 into `codes`."""
    np.multiply(weights, _inverse(scale)[:, None], out=codes)
    np.rint(codes, out=codes)
    np.clip(codes, -8, 7, out=codes)


def round_q4_affine(weights: Floats) -> Groups:
    """Round to q4 with minimum: of a few spans per group, the one of least squared error.

    Each candidate's codes give the scale and minimum that suit them best (linear regression).
    """
    rows = weights.shape[0]
    flat = weights.reshape(-1, 32)
    lowest, highest = flat.min(axis=1), flat.max(axis=1)
    middle, span = lowest / 2 + highest / 2, highest / 15 - lowest / 15
    best, best_minimum = _to_half(span), _to_half(lowest)
    best_loss = np.full(len(flat), np.inf, np.float32)
    for share in _Q4_AFFINE_SHARES:
        step = span * np.float32(share)
        codes = _affine_codes(flat, step, middle - np.float32(7.5) * step)
        scale, minimum = _regression(flat, codes)
        loss = _affine_loss(flat, codes, scale, minimum)
        better = (loss < best_loss) & np.isfinite(scale) & np.isfinite(minimum)
        best = np.where(better, scale, best)
        best_minimum = np.where(better, minimum, best_minimum)
        best_loss = np.where(better, loss, best_loss)
    codes = _affine_codes(flat, best.astype(np.float32), best_minimum.astype(np.float32))
    packed = pack_nibbles(codes.astype(np.uint8)).reshape(rows, -1)
    return Groups(packed, best.reshape(rows, -1), best_minimum.reshape(rows, -1))


def _affine_codes(weights: Floats, scale: Floats, minimum: Floats) -> Floats:
    codes = (weights - minimum[:, None]) * _inverse(scale)[:, None]
    result: Floats = np.clip(np.rint(codes, out=codes), 0, 15, out=codes)
    return result


def _regression(weights: Floats, codes: Floats) -> tuple[Halves, Halves]:
    """Fit weights = scale * code + minimum by least squares, per group."""
    mean_weight, mean_code = weights.mean(axis=1), codes.mean(axis=1)
    deviation = codes - mean_code[:, None]
    spread = _dot(deviation, deviation)
    match = _dot(weights, deviation)
    scale = np.divide(match, spread, out=np.zeros_like(match), where=spread > 0)
    return _to_half(scale), _to_half(mean_weight - scale * mean_code)


def _affine_loss(weights: Floats, codes: Floats, scale: Halves, minimum: Halves) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        decoded = scale.astype(np.float32)[:, None] * codes + minimum.astype(np.float32)[:, None]
        error = weights - decoded
        return _dot(error, error)
