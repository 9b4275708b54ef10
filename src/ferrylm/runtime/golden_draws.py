"""The inputs of the golden draws: rows of logits, and how a token of each is drawn.

Some tokens of a row stand out by a few units, of equal height in one row, so that draws are
among tens of tokens while all the others count a little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ferrylm.runtime import golden_inputs as inputs

DRAW_ROWS = 8  # of which the last is padding
DRAW_STEPS = 4
NOT_COMPARED = -1  # a draw that rounding may decide

_PEAKS = 40
_EQUAL_ROW = 6
_STEADY_ROWS = (0, 1, 4, 5)  # the same logits at each step, so that penalties tell

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GoldenDraw:
    """How the tokens of one row are drawn; each setting is in some row."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    prompt: tuple[int, ...] = ()


def golden_draws(name: str, vocabulary: int) -> list[GoldenDraw]:
    """Return the settings of all rows but the padding."""
    tokens = peaks(name, vocabulary)
    bias = {int(tokens[5, 0]): 4.0, int(tokens[5, 1]): -3.0}
    prompts = [tuple(int(token) for token in tokens[row, :4]) for row in range(DRAW_ROWS)]
    return [
        GoldenDraw(temperature=0.0, repetition_penalty=1.5, prompt=prompts[0]),
        GoldenDraw(temperature=0.75, presence_penalty=-2.0),
        GoldenDraw(top_k=min(5, vocabulary)),
        GoldenDraw(temperature=1.25, top_p=0.75),
        GoldenDraw(min_p=0.125, frequency_penalty=-0.5),
        GoldenDraw(
            1.5, 20, 0.875, 0.0625, 1.25, 0.5, 0.75, bias=bias, prompt=prompts[5]
        ),
        GoldenDraw(top_k=7),
    ]  # fmt: skip


def peaks(name: str, vocabulary: int) -> npt.NDArray[np.int64]:
    """Return the tokens of each row that stand out; some come twice."""
    return inputs.integers(name + " peaks", (DRAW_ROWS, _PEAKS), 0, vocabulary - 1)


def draw_logits(name: str, vocabulary: int, step: int) -> Floats:
    """Return float32 (DRAW_ROWS, vocabulary), multiples of 1/128."""
    logits: Floats = inputs.plain(f"{name} logits {step}", (DRAW_ROWS, vocabulary))
    logits -= np.float32(10)
    heights = _heights(name, step)
    heights[_EQUAL_ROW] = 3
    if step > 0:
        heights[list(_STEADY_ROWS)] = _heights(name, 0)[list(_STEADY_ROWS)]
    rows = np.repeat(np.arange(DRAW_ROWS), _PEAKS)
    np.maximum.at(
        logits, (rows, peaks(name, vocabulary).reshape(-1)), heights.reshape(-1).astype(np.float32)
    )
    return logits


def _heights(name: str, step: int) -> npt.NDArray[np.float64]:
    return inputs.integers(f"{name} heights {step}", (DRAW_ROWS, _PEAKS), 0, 512) / 128


def draw_uniforms(name: str) -> Floats:
    """Return float32 (DRAW_ROWS, DRAW_STEPS), odd multiples of 1/8192."""
    numbers = inputs.integers(name + " uniforms", (DRAW_ROWS, DRAW_STEPS), 0, 4095)
    return ((2 * numbers + 1) / 8192).astype(np.float32)
