"""Draws of the sampling kernels on whatever Vulkan device is there, and what they may be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.draw_layout import REPORT, RING, SETTINGS, UNIFORMS
from ferrylm.runtime.draw_settings import settings_row
from ferrylm.runtime.penalties import Penalties
from ferrylm.runtime.sampler import candidates, index_at
from ferrylm.runtime.sampling_options import SamplingSettings
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.sampling_adjust import adjust
from ferrylm.schedules.gpu.sampling_draw import draw
from ferrylm.schedules.gpu.sampling_plan import DrawPlan
from tests.schedules.gpu.vulkan_runner import build, download, upload

Floats = npt.NDArray[np.float32]

PLAIN = SamplingSettings(
    temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0,
    frequency_penalty=0.0, logit_bias={}, seed=1, logprobs=False, top_logprobs=0,
)  # fmt: skip

# Relative errors of float32 sums of up to 2^18 weights, each from an exponential that Vulkan
# allows 3 + 2 |x| units in the last place: a boundary between two tokens is known so well.
ROUNDING = 1e-5


@cache
def kernels(vocabulary: int) -> Any:
    """Return both kernels, built once."""
    plan = DrawPlan(vocabulary, 8)
    return build({"adjust": adjust(plan), "draw": draw(plan)})


@dataclass(frozen=True)
class Drawn:
    """One step: what is in the ring, and in the tensors that the next step reads."""

    report: npt.NDArray[np.int32]  # (rows, REPORT)
    tokens: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]


class Device:
    """The state of `rows` answers, each row in a slot of its own unless `slots` says otherwise."""

    def __init__(
        self,
        vocabulary: int,
        settings: Sequence[SamplingSettings],
        uniforms: Floats,
        prompts: Sequence[Iterable[int]] | None = None,
        slots: Sequence[int] | None = None,
    ) -> None:
        rows = len(settings) if slots is None else len(slots)
        self.rows, self.vocabulary, self.plan = rows, vocabulary, DrawPlan(vocabulary, 8)
        prompts = prompts or [()] * len(settings)
        penalties = [
            Penalties(each, vocabulary, prompt)
            for each, prompt in zip(settings, prompts, strict=True)
        ]
        table = [settings_row(*pair) for pair in zip(settings, penalties, strict=True)]
        numbers = np.zeros((len(settings), UNIFORMS), np.float32)
        numbers[:, : uniforms.shape[1]] = uniforms
        self.kernels = kernels(vocabulary)
        self.slots = upload(np.array(range(rows) if slots is None else slots, np.int32))
        self.settings = upload(np.array(table, np.int32).reshape(-1, SETTINGS))
        self.uniforms = upload(numbers)
        self.seen = upload(np.array([each.seen() for each in penalties]))
        self.offsets = upload(np.array([each.offsets() for each in penalties]))
        self.drawn = upload(np.zeros(len(settings), np.int32))
        self.tokens = upload(np.full((1, rows), 7, np.int32))
        self.positions = upload(np.arange(10, 10 + rows, dtype=np.int32))
        self.steps = upload(np.zeros(rows, np.int32))
        self.ring = upload(np.full((RING, rows, REPORT), -5, np.int32))
        self.made = 0
        plan = self.plan
        # Garbage, as in a step's memory.
        self.scratch = [
            upload(np.full(shape, 0x5A5A5A5A, np.int32).view(dtype))
            for shape, dtype in (
                ((rows, plan.padded), "int32"),
                ((rows, plan.slices, 4), "int32"),
                ((rows, plan.slices), "float32"),
            )
        ]

    def step(self, logits: Floats) -> Drawn:
        """Draw a token for each row of float32 (rows, vocabulary)."""
        wide = np.full((self.rows, padded(self.vocabulary)), np.nan, np.float32)
        wide[:, : self.vocabulary] = logits
        device_logits = upload(wide)
        self.kernels["adjust"](
            device_logits, self.slots, self.settings, self.seen, self.offsets, *self.scratch
        )
        self.kernels["draw"](
            device_logits, *self.scratch, self.slots, self.settings, self.uniforms, self.tokens,
            self.positions, self.steps, self.drawn, self.seen, self.offsets, self.ring,
        )  # fmt: skip
        report = download(self.ring)[self.made % RING]
        self.made += 1
        return Drawn(report, download(self.tokens)[0], download(self.positions))


def host_token(adjusted: Floats, settings: SamplingSettings, uniform: float) -> int:
    """Return what the host's sampler draws with this uniform number."""
    if settings.temperature == 0:
        return int(np.argmax(adjusted))
    ids, weights = candidates(adjusted, settings)
    return int(ids[index_at(weights, uniform)])


def may_be_drawn(token: int, adjusted: Floats, settings: SamplingSettings, uniform: float) -> bool:
    """Say whether a token is right but for ROUNDING of masses, weights and the uniform number.

    With numbers a little smaller and larger the host's sampler draws a few tokens: the drawn one
    must lie between the first and the last of those, and be one that the widest truncation keeps.
    """
    if settings.temperature == 0:
        return token == int(np.argmax(adjusted))
    factors = (1 - ROUNDING, 1.0, 1 + ROUNDING)
    drawn, kept = [], False
    for top_p, min_p in itertools.product(factors, factors):
        changed = replace(
            settings,
            top_p=settings.top_p if settings.top_p == 1 else min(settings.top_p * top_p, 1.0),
            min_p=min(settings.min_p * min_p, 1.0),
        )
        ids, weights = candidates(adjusted, changed)
        kept = kept or token in ids[weights > 0]
        for factor in factors:
            nearby = min(max(uniform + factor - 1, 0.0), 1 - 2.0**-53)
            drawn.append(int(ids[index_at(weights, nearby)]))
    return kept and min(drawn) <= token <= max(drawn)
