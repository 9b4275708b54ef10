"""The compiled SmolLM2 against its goldens and the float64 reference; scripts/test.sh makes it."""

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
from tests.model_weights import artifact_weights
from tests.reference import llama_logits

pytestmark = [pytest.mark.model, pytest.mark.slow]
GOLDEN = Path(__file__).parent / "golden"
TEXTS = (1, 4, 8)  # code, numbers, and several languages


@pytest.fixture(scope="module")
def artifact() -> Iterator[Artifact]:
    path = os.environ.get("FERRY_TEST_ARTIFACT")
    if path is None:
        pytest.skip("FERRY_TEST_ARTIFACT names no artifact; scripts/test.sh compiles one")
    with Artifact.open(Path(path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def engine(artifact: Artifact) -> Iterator[Any]:
    from ferrylm.runtime.engine import open_engine

    opened = open_engine(artifact, context_length=512)
    yield opened
    opened.close()


def gate_of(engine: Any) -> gates.Gate:
    return gates.gate_of(engine.library.arithmetic, engine.library.kv_dtype)


def golden_texts() -> list[np.ndarray]:
    with np.load(GOLDEN / "smollm2_logits.npz") as golden:
        ends = np.cumsum(golden["lengths"])
        return np.split(golden["token_ids"], ends[:-1])


def test_logits_keep_the_gate_of_their_arithmetic(artifact: Artifact, engine: Any) -> None:
    config, weights = artifact.manifest.model, artifact_weights(artifact)
    gate = gate_of(engine)
    found, rounded = [], []
    for index in TEXTS:
        ids = golden_texts()[index]
        wanted = llama_logits(config, weights, ids)
        found.append(gates.compare(engine.score(ids), wanted))
        if gate is gates.INT8:
            expected = llama_logits(config, weights, ids, int8_activations=True)
            rounded.append(gates.compare(expected, wanted))
    measured = gate.summarize(gates.join(found))
    assert gate.violations(measured) == []
    if rounded:
        assert gates.beyond_expected(measured, gate.summarize(gates.join(rounded))) is None


def test_greedy_text_follows_the_golden_up_to_its_first_near_tie(
    artifact: Artifact, engine: Any
) -> None:
    stored = artifact.manifest.quantization
    # The golden's weights are Q4_1 with a Q8_0 embedding; these schemes hold them without loss.
    if stored.body not in ("q4f16", "q0f32") or stored.head not in ("q8f16", "q0f32"):
        pytest.skip(f"{stored.body} with a head in {stored.head} is not the golden's model")
    ignored_gap = gate_of(engine).ignored_gap
    traces = json.loads((GOLDEN / "smollm2_greedy.json").read_text())["traces"]
    for trace in traces:
        sequence = engine.open_sequence()
        try:
            logits = engine.prefill(sequence, np.array(trace["prompt_ids"], np.int32))
            ids: list[int] = []
            for wanted in trace["ids"]:
                ids.append(int(np.argmax(logits)))
                if ids[-1] != wanted:
                    break
                logits = engine.decode([sequence], np.array(ids[-1:], np.int32))[0]
        finally:
            engine.close_sequence(sequence)
        step = gates.first_divergence(ids, trace["ids"], trace["gaps"], ignored_gap)
        assert step is None, f"left {trace['text']!r} at step {step}, gap {trace['gaps'][step]}"
