"""Whole models on a Vulkan device: the results of the CPU, and memory that does not grow.

On lavapipe unless another driver is named; tests/conftest.py says how.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ferrylm.runtime import verification
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import probe_kind
from ferrylm.runtime.backends.steps import RECORDING
from ferrylm.runtime.engine import Engine
from tests.engine.built_artifacts import VULKAN_RECIPES, Build
from tests.engine.opened import OpenEngine, opener, prefilled, stepped, token_ids

# Of the standard deviation of a step's logits; docs/verify.md has the reasons.
TOLERANCE = 0.02
TARGETS = [f"vulkan-{tier}:{recipe}" for recipe, tiers in VULKAN_RECIPES.items() for tier in tiers]


@pytest.fixture(autouse=True)
def needs_a_device() -> None:
    probe = probe_kind("vulkan")
    assert probe.devices, probe.problem


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return a library's target and the recipe of its artifact."""
    name, _, recipe = request.param.partition(":")
    return name, recipe


@pytest.fixture
def engine(target: tuple[str, str], build: Build) -> Iterator[Engine]:
    name, recipe = target
    with opener(build) as open_one:
        yield open_one(recipe, target=name, max_sequences=4)[1]


def test_the_golden_results_of_kernels_and_steps_are_met(
    target: tuple[str, str], build: Build
) -> None:
    name, recipe = target
    with Artifact.open(build(recipe)) as artifact:
        checks = verification.verify(artifact, device="vulkan", target=name)
    assert [check for check in checks if not check.passed] == []
    kernels = [check for check in checks if check.name.startswith("kernel ")]
    assert len(kernels) > 10
    assert all(name in check.detail for check in kernels)
    assert any(check.name == "greedy trace" for check in checks)


def test_logits_are_the_cpus(target: tuple[str, str], engine: Engine, build: Build) -> None:
    ids = token_ids(engine, 150, seed=3)
    with opener(build) as open_one:
        _, on_cpu = open_one(target[1], device="cpu", max_sequences=4)
        wanted = on_cpu.score(ids)
    scored = engine.score(ids)
    decoded = stepped(engine, ids[:40])
    deviation = wanted.std(axis=1, keepdims=True)
    assert np.abs(scored - wanted).max() <= TOLERANCE * deviation.min()
    assert np.abs(decoded - wanted[:40]).max() <= TOLERANCE * deviation.min()


def test_greedy_text_is_the_cpus_where_the_lead_exceeds_the_tolerance(
    target: tuple[str, str], engine: Engine, build: Build
) -> None:
    with opener(build) as open_one:
        _, on_cpu = open_one(target[1], device="cpu")
        ids = [int(token) for token in token_ids(engine, 8)]
        sequence, logits = prefilled(on_cpu, np.array(ids, np.int32))
        mine, found = prefilled(engine, np.array(ids, np.int32))
        compared = 0
        for _ in range(60):
            best = int(np.argmax(logits))
            lead = logits[best] - np.max(np.delete(logits, best))
            if lead > 2 * TOLERANCE * logits.std():
                assert int(np.argmax(found)) == best
                compared += 1
            token = np.array([best], np.int32)
            logits = on_cpu.decode([sequence], token)[0]
            found = engine.decode([mine], token)[0]
    assert compared > 30


def test_batches_and_used_pages_change_nothing(engine: Engine) -> None:
    texts = [token_ids(engine, 70, seed) for seed in range(3)]
    alone = [stepped(engine, text) for text in texts]
    for _ in range(2):
        sequences = [prefilled(engine, text[:40], [13])[0] for text in texts]
        for i in range(40, 70):
            found = engine.decode(sequences, np.array([t[i] for t in texts], np.int32))
            for row, wanted in zip(found, alone, strict=True):
                assert np.abs(row - wanted[i]).max() <= TOLERANCE * wanted[i].std()
        for sequence in sequences:
            engine.close_sequence(sequence)


def test_a_replayed_step_gives_the_bits_of_one_that_is_not_recorded(
    target: tuple[str, str], engine: Engine, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = token_ids(engine, 60, seed=9)
    wanted = stepped(engine, ids)
    monkeypatch.setenv(RECORDING, "off")
    with opener(build) as open_one:
        _, direct = open_one(target[1], target=target[0])
        np.testing.assert_array_equal(stepped(direct, ids), wanted)


def grow(engine: Engine, steps: int) -> tuple[int, int]:
    """Decode, beginning anew whenever the context is full; return memory in the middle and after.

    The first half has met every width of the block tables.
    """
    token = token_ids(engine, 1)
    sequence, used = engine.open_sequence(), []
    for step in range(steps):
        if sequence.length == engine.context_length:
            engine.close_sequence(sequence)
            sequence = engine.open_sequence()
        engine.decode([sequence], token)
        if step in (steps // 2, steps - 1):
            engine.backend.synchronize()
            used.append(engine.backend.used_bytes())
    engine.close_sequence(sequence)
    return used[0], used[1]


def test_memory_does_not_grow_while_tokens_are_made(engine: Engine) -> None:
    half, whole = grow(engine, 2 * engine.context_length + 10)
    assert half == whole > 0


@pytest.mark.slow
def test_memory_is_exactly_the_same_after_10000_steps(open_engine: OpenEngine) -> None:
    recipe, tiers = next(iter(VULKAN_RECIPES.items()))
    _, engine = open_engine(recipe, target=f"vulkan-{tiers[0]}")
    half, whole = grow(engine, 10_000)
    assert half == whole > 0
