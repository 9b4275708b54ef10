"""The golden draws: some steps of rows whose settings differ, on a library's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.comparison import Comparison
from ferrylm.runtime.draw_layout import REPORT, RING, SETTINGS, UNIFORMS, Report
from ferrylm.runtime.draw_settings import settings_row
from ferrylm.runtime.golden_draws import (
    DRAW_ROWS,
    DRAW_STEPS,
    NOT_COMPARED,
    GoldenDraw,
    draw_logits,
    draw_uniforms,
    golden_draws,
)
from ferrylm.runtime.golden_format import KernelCase, KernelCheck, expected_values, refused
from ferrylm.runtime.manifest import ModelConfig
from ferrylm.runtime.penalties import Penalties
from ferrylm.runtime.replay_buffers import ReplayBuffers
from ferrylm.runtime.sampling_options import SamplingSettings

_GARBAGE = -7


def replay_draws(
    model: ModelConfig, buffers: ReplayBuffers, function: Any, case: KernelCase, check: KernelCheck
) -> Comparison:
    """Compare the tokens of all steps, and what the next step is given.

    Raises ArtifactError for golden data that does not fit the model.
    """
    vocabulary = case.width
    if vocabulary != model.vocab_size or check.batch != DRAW_ROWS:
        raise refused(
            f"{check.batch} draws out of {vocabulary} tokens",
            f"{DRAW_ROWS} out of {model.vocab_size}",
        )
    buffers.check_size("penalties", (DRAW_ROWS, vocabulary), "float32")
    shape = (DRAW_STEPS, DRAW_ROWS)
    wanted = expected_values(case, check.expected, shape)[0].astype(np.int64)
    backend, state = buffers.backend, _state(case.name, vocabulary)
    tokens = backend.upload(buffers.tokens(np.full(DRAW_ROWS, 1), DRAW_ROWS))
    positions = backend.upload(np.arange(DRAW_ROWS, dtype=np.int32))
    tensors = [backend.upload(array) for array in state]
    total = Comparison()
    for step in range(DRAW_STEPS):
        logits = draw_logits(case.name, vocabulary, step)
        rows = backend.upload(buffers.activations(logits, DRAW_ROWS, check.input_width))
        ring = backend.download(function(tokens, rows, positions, *tensors))
        reports = ring[step % RING, :, Report.TOKEN].astype(np.int64)
        total = total.joined(_compare(reports, wanted[step], f"token[{step}]"))
        given = backend.download(tokens).reshape(-1).astype(np.int64)
        total = total.joined(_compare(given, wanted[step], f"next token[{step}]"))
    moved = np.arange(DRAW_ROWS) + DRAW_STEPS * (np.arange(DRAW_ROWS) < DRAW_ROWS - 1)
    found = backend.download(positions).astype(np.int64)
    total = total.joined(_compare(found, moved, "next position"))
    padding = backend.download(tensors[-1])[:, -1]
    return total.joined(_compare(padding[:, 0], np.full(RING, _GARBAGE), "padding's report"))


def _state(name: str, vocabulary: int) -> list[npt.NDArray[Any]]:
    """Return slots, steps, settings, uniforms, drawn, seen, offsets, ring: slots in reverse."""
    draws = golden_draws(name, vocabulary)
    count = len(draws)
    slots = np.array([*range(count - 1, -1, -1), -1], np.int32)
    settings = np.zeros((count, SETTINGS), np.int32)
    uniforms = np.zeros((count, UNIFORMS), np.float32)
    seen = np.zeros((count, vocabulary), np.int32)
    offsets = np.zeros((count, vocabulary), np.float32)
    numbers = draw_uniforms(name)
    for row, draw in enumerate(draws):
        slot, chosen = slots[row], _settings(draw)
        penalties = Penalties(chosen, vocabulary, draw.prompt)
        settings[slot] = settings_row(chosen, penalties)
        uniforms[slot, :DRAW_STEPS] = numbers[row]
        seen[slot], offsets[slot] = penalties.seen(), penalties.offsets()
    ring = np.full((RING, DRAW_ROWS, REPORT), _GARBAGE, np.int32)
    zeros = np.zeros(DRAW_ROWS, np.int32)
    return [slots, zeros, settings, uniforms, np.zeros(count, np.int32), seen, offsets, ring]


def _settings(draw: GoldenDraw) -> SamplingSettings:
    return SamplingSettings(
        temperature=draw.temperature,
        top_k=draw.top_k,
        top_p=draw.top_p,
        min_p=draw.min_p,
        repetition_penalty=draw.repetition_penalty,
        presence_penalty=draw.presence_penalty,
        frequency_penalty=draw.frequency_penalty,
        logit_bias=draw.bias,
        seed=0,
        logprobs=False,
        top_logprobs=0,
    )


def _compare(found: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], what: str) -> Comparison:
    wrong = np.flatnonzero((found != wanted) & (wanted != NOT_COMPARED))
    if not len(wrong):
        return Comparison(len(wanted))
    row = int(wrong[0])
    problem = f"{what} of row {row} is {found[row]}, wanted {wanted[row]}"
    return Comparison(len(wanted), float("inf"), problem)
