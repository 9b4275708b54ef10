"""Models of the families other than Llama: whole compiles against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from ferrylm.runtime import verification
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import probe_kind
from tests import numeric_gates as gates
from tests.engine.built_artifacts import FAMILY_RECIPES, Build
from tests.engine.opened import OpenEngine, stepped, token_ids
from tests.model_weights import artifact_weights
from tests.reference import llama_logits

TOKENS = 100
ON_VULKAN = [
    (name, f"vulkan-{tier}") for name, recipe in FAMILY_RECIPES.items() for tier in recipe.vulkan
]


@pytest.fixture
def needs_vulkan() -> None:
    probe = probe_kind("vulkan")
    assert probe.devices, probe.problem


@pytest.mark.parametrize("recipe", FAMILY_RECIPES)
def test_logits_on_a_cpu_keep_the_gate_of_their_arithmetic(
    recipe: str, open_engine: OpenEngine
) -> None:
    artifact, engine = open_engine(recipe, device="cpu")
    gate = gates.gate_of(engine.library.arithmetic, engine.library.kv_dtype)
    ids = token_ids(engine, TOKENS)
    wanted = llama_logits(artifact.manifest.model, artifact_weights(artifact), ids)
    assert gate.violations(gate.measure(engine.score(ids), wanted)) == []
    # Decoded one by one, the same.
    np.testing.assert_array_equal(stepped(engine, ids[:20]), engine.score(ids)[:20])


@pytest.mark.parametrize(("recipe", "target"), ON_VULKAN)
def test_logits_on_vulkan_are_the_references(
    recipe: str, target: str, open_engine: OpenEngine, needs_vulkan: None
) -> None:
    artifact, engine = open_engine(recipe, target=target)
    ids = token_ids(engine, TOKENS)
    wanted = llama_logits(artifact.manifest.model, artifact_weights(artifact), ids)
    assert gates.FP16.violations(gates.FP16.measure(engine.score(ids), wanted)) == []
    decoded = stepped(engine, ids[:40])
    assert gates.FP16.violations(gates.FP16.measure(decoded, wanted[:40])) == []


@pytest.mark.parametrize(
    ("recipe", "target"), [*((name, None) for name in FAMILY_RECIPES), *ON_VULKAN]
)
def test_the_golden_results_of_kernels_and_steps_are_met(
    recipe: str, target: str | None, build: Build, needs_vulkan: None
) -> None:
    with Artifact.open(build(recipe)) as artifact:
        device = "cpu" if target is None else "vulkan"
        checks = verification.verify(artifact, device=device, target=target)
    assert [check for check in checks if not check.passed] == []
    assert any(check.name == "greedy trace" for check in checks)
