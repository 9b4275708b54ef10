"""Which tokens must be drawn, in float64 numpy, written from the definitions of the settings.

Nothing here is shared with the schedules or the host's sampler, so that one mistake cannot hide
another. A draw that float32 may decide otherwise is not compared, nor what follows it in its row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ferrylm.runtime.golden_draws import (
    DRAW_ROWS,
    DRAW_STEPS,
    NOT_COMPARED,
    GoldenDraw,
    draw_logits,
    draw_uniforms,
    golden_draws,
)

Float64 = NDArray[np.float64]

MARGIN = 1e-4  # of sums of weights, and between logits
_SHARE_MARGIN = 1e-5  # of the sum that is drawn from


def drawn_tokens(name: str, vocabulary: int) -> Float64:
    """Return the tokens [DRAW_STEPS, DRAW_ROWS]; NOT_COMPARED for the row of padding."""
    found = np.full((DRAW_STEPS, DRAW_ROWS), float(NOT_COMPARED))
    uniforms = draw_uniforms(name).astype(np.float64)
    rows = [_Row(draw) for draw in golden_draws(name, vocabulary)]
    for step in range(DRAW_STEPS):
        logits = draw_logits(name, vocabulary, step).astype(np.float64)
        for index, row in enumerate(rows):
            if step == 0 or found[step - 1, index] != NOT_COMPARED:
                found[step, index] = row.draw(logits[index], float(uniforms[index, step]))
    return found


class _Row:
    def __init__(self, draw: GoldenDraw) -> None:
        self._draw = draw
        self._answer: list[int] = []

    def draw(self, logits: Float64, uniform: float) -> int:
        """Return a token, or NOT_COMPARED."""
        token = _drawn(self._adjusted(logits), self._draw, uniform)
        self._answer.append(token)
        return token

    def _adjusted(self, logits: Float64) -> Float64:
        draw = self._draw
        adjusted: Float64 = logits.copy()
        if draw.repetition_penalty != 1:
            for token in {*draw.prompt, *self._answer}:
                above = adjusted[token] > 0
                penalty = draw.repetition_penalty
                adjusted[token] *= 1 / penalty if above else penalty
        for token in set(self._answer):
            count = self._answer.count(token)
            adjusted[token] -= draw.presence_penalty + draw.frequency_penalty * count
        for token, bias in draw.bias.items():
            adjusted[token] += bias
        return adjusted


def _drawn(adjusted: Float64, draw: GoldenDraw, uniform: float) -> int:
    order = np.lexsort((np.arange(adjusted.size), -adjusted))
    if draw.temperature == 0:
        close = adjusted.size > 1 and adjusted[order[0]] - adjusted[order[1]] < MARGIN
        return NOT_COMPARED if close else int(order[0])
    if draw.top_k:
        order = order[: draw.top_k]
    weights = np.exp((adjusted[order] - adjusted[order[0]]) / draw.temperature)
    if draw.top_p < 1:
        sums = np.cumsum(weights)
        wanted = draw.top_p * sums[-1]
        if np.abs(sums - wanted).min() < MARGIN * sums[-1]:
            return NOT_COMPARED
        count = int(np.argmax(sums >= wanted)) + 1
        order, weights = order[:count], weights[:count]
    if draw.min_p and np.abs(weights - draw.min_p).min() < MARGIN:
        return NOT_COMPARED
    kept = weights >= draw.min_p
    rising = np.argsort(order[kept])
    ids, sums = order[kept][rising], np.cumsum(weights[kept][rising])
    if np.abs(sums / sums[-1] - uniform).min() < _SHARE_MARGIN:
        return NOT_COMPARED
    return int(ids[np.argmax(sums > uniform * sums[-1])])
