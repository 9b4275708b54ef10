"""The golden draws notice every setting that a kernel forgets or gets wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ferrylm.compile.golden_cases import kernel_case
from ferrylm.compile.golden_recording import Operation
from ferrylm.errors import ArtifactError
from ferrylm.runtime.backends import open_backend, probe_kind
from ferrylm.runtime.comparison import Comparison
from ferrylm.runtime.draw_layout import Setting
from ferrylm.runtime.draw_replay import replay_draws
from ferrylm.runtime.golden_draws import DRAW_ROWS
from ferrylm.runtime.golden_format import KernelCheck
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.sampling_plan import DrawPlan
from tests.schedules.gpu.sampling_runner import kernels

VOCABULARY = 1500
PLAN = DrawPlan(VOCABULARY, 8)
CASE = kernel_case(Operation("draw", DRAW_ROWS, width=VOCABULARY), None, set(), set())
CHECK = KernelCheck(CASE.name, "f", (), DRAW_ROWS, "f32", padded(VOCABULARY), 0, ())

State = list[Any]  # slots, steps, settings, uniforms, drawn, seen, offsets, ring
Fault = Callable[[Any, State], None]


class Model:
    vocab_size = VOCABULARY


class Buffers:
    """What replays ask of ReplayBuffers, on the Vulkan device."""

    def __init__(self) -> None:
        probe = probe_kind("vulkan")
        assert probe.devices, probe.problem
        self.backend = open_backend(probe.devices[0], 1)

    def check_size(self, *_: object) -> None:
        pass

    def tokens(self, ids: Any, batch: int) -> Any:
        return np.asarray(ids, np.int32).reshape(1, batch)

    def activations(self, x: Any, _batch: int, width: int) -> Any:
        wide = np.zeros((len(x), width), np.float32)
        wide[:, : x.shape[1]] = x
        return wide


def replay(fault: Fault | None = None, **changes: Any) -> Comparison:
    """Replay on the real kernels, on a state that `fault` changes before the first step."""
    buffers, begun = Buffers(), []

    def function(tokens: Any, logits: Any, positions: Any, *state: Any) -> Any:
        backend = buffers.backend
        if fault is not None and not begun:
            fault(backend, list(state))
        begun.append(1)
        slots, steps, settings, uniforms, drawn, seen, offsets, ring = state
        built = kernels(VOCABULARY)
        shapes = ((PLAN.padded,), (PLAN.slices, 4))
        scratch = [backend.upload(np.zeros((DRAW_ROWS, *shape), np.int32)) for shape in shapes]
        scratch.append(backend.upload(np.zeros((DRAW_ROWS, PLAN.slices), np.float32)))
        built["adjust"](logits, slots, settings, seen, offsets, *scratch)
        built["draw"](
            logits, *scratch, slots, settings, uniforms, tokens, positions, steps, drawn, seen,
            offsets, ring,
        )  # fmt: skip
        return ring

    model: Any = changes.pop("model", Model())
    anything: Any = buffers
    return replay_draws(model, anything, function, CASE, CHECK)


def sets(column: Setting, value: Any) -> Fault:
    def fault(backend: Any, state: State) -> None:
        settings = backend.download(state[2])
        wanted = np.int32(value) if column == Setting.TOP_K else np.float32(value).view(np.int32)
        settings[:, column] = np.where(settings[:, column] == 0, 0, wanted)
        backend.overwrite(state[2], settings)

    return fault


def clears(index: int) -> Fault:
    def fault(backend: Any, state: State) -> None:
        backend.overwrite(state[index], np.zeros_like(backend.download(state[index])))

    return fault


FAULTS = {
    "temperature": sets(Setting.TEMPERATURE, 2.0),
    "top-k": sets(Setting.TOP_K, 6),
    "no top-k": sets(Setting.TOP_K, 0),
    "top-p": sets(Setting.TOP_P, 1.0),
    "min-p": sets(Setting.MIN_P, 0.6),
    "repetition": sets(Setting.REPETITION_INVERSE, 1.0),
    "presence": sets(Setting.PRESENCE, 3.0),
    "frequency": sets(Setting.FREQUENCY, 3.0),
    "marks": clears(2),
    "uniform numbers": clears(3),
    "seen tokens": clears(5),
    "bias": clears(6),
}


def test_right_kernels_pass() -> None:
    found = replay()
    assert found.problem is None
    assert found.count > 2 * 4 * DRAW_ROWS


@pytest.mark.parametrize("name", FAULTS)
def test_a_setting_that_is_wrong_is_noticed(name: str) -> None:
    problem = replay(FAULTS[name]).problem
    assert problem is not None
    assert "token[" in problem


def test_golden_draws_of_another_vocabulary_are_refused() -> None:
    class Other:
        vocab_size = VOCABULARY + 1

    with pytest.raises(ArtifactError, match="draws out of 1500 tokens"):
        replay(model=Other())
