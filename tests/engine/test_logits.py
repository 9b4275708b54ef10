"""The engine's logits against the float64 reference on the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from ferrylm.runtime.artifact import Artifact
from tests import numeric_gates as gates
from tests.engine.built_artifacts import RECIPES
from tests.engine.opened import OpenEngine, token_ids
from tests.model_weights import artifact_weights
from tests.reference import llama_logits

FLOAT_RECIPES = [name for name, recipe in RECIPES.items() if recipe.arithmetic == "f32"]


def reference_logits(artifact: Artifact, ids: np.ndarray, **options: bool) -> np.ndarray:
    return llama_logits(artifact.manifest.model, artifact_weights(artifact), ids, **options)


@pytest.mark.parametrize("recipe", [*FLOAT_RECIPES, "int16"])
def test_logits_keep_the_gate_of_their_arithmetic(recipe: str, open_engine: OpenEngine) -> None:
    artifact, engine = open_engine(recipe)
    gate = gates.gate_of(engine.library.arithmetic, engine.library.kv_dtype)
    assert gate is (gates.FP32 if RECIPES[recipe].quantization == "q0f32" else gates.FP16)
    ids = token_ids(engine, min(engine.context_length, 150))
    found = engine.score(ids)
    assert found.shape == (len(ids), artifact.manifest.model.vocab_size)
    assert gate.violations(gate.measure(found, reference_logits(artifact, ids))) == []


@pytest.mark.parametrize("seed", range(4))
def test_int8_costs_what_rounding_activations_costs_and_no_more(
    seed: int, open_engine: OpenEngine
) -> None:
    # Where a value lies near the middle of two codes, float32 and float64 may choose different
    # ones, so the engine is not the rounding reference, but it errs by as much.
    artifact, engine = open_engine("int8")
    ids = token_ids(engine, 32, seed)
    exact = reference_logits(artifact, ids)
    rounded = reference_logits(artifact, ids, int8_activations=True)
    found = engine.score(ids)
    expected = gates.nmse(rounded, exact)
    assert expected > 1e-6, "rounding shows"
    assert gates.nmse(found, exact) <= 1.5 * expected
    # Two roundings that have nothing to do with each other would lie twice as far apart.
    assert gates.nmse(found, rounded) <= expected


def test_every_library_of_an_artifact_keeps_the_gate_and_gives_the_same_bits(
    open_engine: OpenEngine,
) -> None:
    artifact, best = open_engine("plain")
    ids = token_ids(best, 100)
    wanted = best.score(ids)
    for library in artifact.manifest.libraries:
        _, engine = open_engine("plain", target=library.target)
        assert engine.library.target == library.target
        np.testing.assert_array_equal(engine.score(ids), wanted)
