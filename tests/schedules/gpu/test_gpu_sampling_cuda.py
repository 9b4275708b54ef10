"""The kernels that draw tokens as CUDA C++, run on the host: warps of 32, workgroups of 1024."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferrylm.runtime.draw_layout import REPORT, RING, UNIFORMS, Report
from ferrylm.runtime.draw_settings import settings_row, uniform_numbers
from ferrylm.runtime.penalties import Penalties
from ferrylm.runtime.sampling_options import SamplingSettings
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.overlap import overlapped
from ferrylm.schedules.gpu.sampling_adjust import adjust
from ferrylm.schedules.gpu.sampling_draw import draw
from ferrylm.schedules.gpu.sampling_plan import DrawPlan
from tests.schedules.gpu.cuda_runner import build, run_in_place
from tests.schedules.gpu.sampling_runner import PLAIN, may_be_drawn

VOCABULARY = 3001
SETTINGS = [
    replace(PLAIN, temperature=0.0, repetition_penalty=1.3, frequency_penalty=0.5),
    PLAIN,
    replace(PLAIN, top_k=40, presence_penalty=0.5, logit_bias={17: 4.0}),
    replace(PLAIN, temperature=1.5, top_p=0.8),
    replace(PLAIN, top_k=700, top_p=0.9, min_p=0.01),
    replace(PLAIN, top_k=3),
]
SLOTS = [5, -1, 0, 1, 2, 3, 4]  # row 0 has equal logits only


@pytest.fixture(scope="module", params=["75", "90a"])
def kernels(request: pytest.FixtureRequest) -> Any:
    plan = DrawPlan(VOCABULARY, 32)
    functions = {"adjust": adjust(plan), "draw": draw(plan)}
    if request.param == "90a":
        functions = {name: overlapped(func) for name, func in functions.items()}
    return build(functions, arch=request.param)


def test_warps_draw_what_the_host_draws(kernels: Any) -> None:
    plan, rows = DrawPlan(VOCABULARY, 32), len(SLOTS)
    random = np.random.default_rng(4)
    prompts = [random.integers(0, VOCABULARY, 5).tolist() for _ in SETTINGS]
    penalties = [
        Penalties(one, VOCABULARY, prompt) for one, prompt in zip(SETTINGS, prompts, strict=True)
    ]
    uniforms = uniform_numbers(random, len(SETTINGS) * UNIFORMS).reshape(-1, UNIFORMS)
    table = [settings_row(*pair) for pair in zip(SETTINGS, penalties, strict=True)]
    state = [np.array(table), uniforms]
    slots = np.array(SLOTS, np.int32)
    seen = np.array([each.seen() for each in penalties])
    offsets = np.array([each.offsets() for each in penalties])
    tokens, positions = np.full((1, rows), 9, np.int32), np.arange(rows, dtype=np.int32)
    steps, drawn = np.zeros(rows, np.int32), np.zeros(len(SETTINGS), np.int32)
    ring = np.full((RING, rows, REPORT), -5, np.int32)
    for step in range(3):
        logits = np.full((rows, padded(VOCABULARY)), np.nan, np.float32)
        logits[:, :VOCABULARY] = random.standard_normal((rows, VOCABULARY)) * 3
        logits[0, :VOCABULARY] = 1.5
        scratch = [
            np.full((rows, plan.padded), 0x5A5A5A5A, np.int32),
            np.full((rows, plan.slices, 4), 0x5A5A5A5A, np.int32),
            np.full((rows, plan.slices), np.nan, np.float32),
        ]
        inputs = [logits, slots, state[0], seen, offsets, *scratch]
        scratch = run_in_place(kernels["adjust"], inputs)[-3:]
        changed = [tokens, positions, steps, drawn, seen, offsets, ring]
        found = run_in_place(kernels["draw"], [logits, *scratch, slots, *state, *changed])
        tokens, positions, steps, drawn, seen, offsets, ring = found[-7:]
        for row, slot in enumerate(SLOTS):
            token = int(ring[step, row, Report.TOKEN])
            assert int(tokens[0, row]) == (9 if slot < 0 else token)
            if slot < 0:
                assert token == -5
                continue
            adjusted = penalties[slot].adjusted(logits[row, :VOCABULARY])
            uniform = float(uniforms[slot, step])
            assert may_be_drawn(token, adjusted, SETTINGS[slot], uniform), SETTINGS[slot]
            penalties[slot].record(token)
    np.testing.assert_array_equal(positions, [3, 1, 5, 6, 7, 8, 9])
    np.testing.assert_array_equal(offsets, [each.offsets() for each in penalties])


def test_settings_are_all_there() -> None:
    """A setting that no row has would go unseen."""
    for name in SamplingSettings.__dataclass_fields__:
        if name not in ("seed", "logprobs", "top_logprobs"):
            assert len({str(getattr(each, name)) for each in SETTINGS}) > 1, name
