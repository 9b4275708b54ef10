"""The compiled SmolLM2 on a Vulkan device beside the CPU; scripts/test.sh makes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferrylm.runtime.artifact import Artifact
from tests import numeric_gates as gates

pytestmark = [pytest.mark.model, pytest.mark.slow]
TRACES = Path(__file__).parent / "golden" / "smollm2_greedy.json"
PROMPTS = 5
TOKENS = 40
# Of the standard deviation of a position's logits, for keys and values that may be rounded to
# neighbouring 16-bit floats (docs/verify.md); 0.0075 is the largest that was seen.
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def artifact() -> Iterator[Artifact]:
    path = os.environ.get("FERRY_TEST_ARTIFACT")
    if path is None:
        pytest.skip("FERRY_TEST_ARTIFACT names no artifact; scripts/test.sh compiles one")
    with Artifact.open(Path(path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def engines(artifact: Artifact) -> Iterator[dict[str, Any]]:
    """Return an engine on the CPU and one on the Vulkan device."""
    from ferrylm.runtime.engine import open_engine

    opened = {
        kind: open_engine(artifact, device=kind, context_length=256) for kind in ("cpu", "vulkan")
    }
    yield opened
    for engine in opened.values():
        engine.close()


def test_every_kernel_and_step_meets_its_golden_result(artifact: Artifact) -> None:
    from ferrylm.runtime import verification

    checks = verification.verify(artifact, device="vulkan")
    assert [check for check in checks if not check.passed] == []
    assert sum(check.name.startswith("kernel ") for check in checks) > 20
    assert sum(check.name.startswith("greedy trace") for check in checks) > 3


@pytest.mark.parametrize("index", range(PROMPTS))
def test_greedy_text_is_the_cpus_wherever_its_lead_exceeds_the_tolerance(
    engines: dict[str, Any], index: int
) -> None:
    prompt = np.array(json.loads(TRACES.read_text())["traces"][index]["prompt_ids"], np.int32)
    sequences = {kind: engine.open_sequence() for kind, engine in engines.items()}
    logits = {kind: [engine.prefill(sequences[kind], prompt)] for kind, engine in engines.items()}
    for _ in range(TOKENS - 1):
        token = np.array([np.argmax(logits["cpu"][-1])], np.int32)
        for kind, engine in engines.items():
            logits[kind].append(engine.decode([sequences[kind]], token)[0])
    for kind, engine in engines.items():
        engine.close_sequence(sequences[kind])
    wanted = np.array(logits["cpu"])
    compared = gates.compare(np.array(logits["vulkan"]), wanted)
    assert compared.errors.max() <= TOLERANCE
    # Two logits may each be off by the tolerance, against each other.
    near_tie = 2 * TOLERANCE * float(np.std(wanted, axis=1).max())
    agreement, counted = compared.agreement(near_tie)
    assert agreement == 1.0
    assert counted >= 0.75 * TOKENS


def test_the_device_draws_the_tokens_that_the_host_would_across_wider_tables(
    artifact: Artifact,
) -> None:
    """From 244 tokens on: at 256 the block tables double, which takes another recording."""
    from ferrylm.runtime.draw_slots import greedy_draws
    from ferrylm.runtime.engine import open_engine

    text = json.loads(TRACES.read_text())["traces"][0]["prompt_ids"]
    prompt = np.resize(np.array(text, np.int32), 244)
    engine = open_engine(artifact, device="vulkan", context_length=512)
    try:
        sequence = engine.open_sequence()
        first = int(np.argmax(engine.prefill(sequence, prompt)))
        engine.begin_drawing(sequence, greedy_draws(first, 24))
        drawn = [first, *(int(engine.next_reports([sequence])[0][0]) for _ in range(24))]
        assert sequence.length == 268
        engine.close_sequence(sequence)
        sequence = engine.open_sequence()
        logits = engine.prefill(sequence, prompt)
        for token in drawn:
            assert token == int(np.argmax(logits))
            logits = engine.decode([sequence], np.array([token], np.int32))[0]
    finally:
        engine.close()
