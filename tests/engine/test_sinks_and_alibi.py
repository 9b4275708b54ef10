"""Sinks and ALiBi, which no family here has, through a whole compile, on a CPU and on Vulkan.

A model is made that has them: its first layer has a window and sinks, its second one slopes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from ferrylm.compile import library
from ferrylm.compile.compiler import compile_model
from ferrylm.compile.options import CompileOptions
from ferrylm.compile.sources import huggingface
from ferrylm.relax_models import config as config_module
from ferrylm.runtime import verification
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine
from ferrylm.runtime.manifest import AttentionVariant
from tests import numeric_gates as gates
from tests.engine.built_artifacts import host_profiles
from tests.engine.opened import stepped, token_ids
from tests.engine.tiny_sources import TinySource
from tests.model_weights import artifact_weights
from tests.reference import llama_logits

VARIANTS = (
    AttentionVariant(window_tokens=40, sinks=True),
    AttentionVariant(alibi=True, soft_cap=4.0),
)
TOKENS = 150


@dataclass(frozen=True)
class SinkSource(TinySource):
    """A tiny model whose first layer has sinks."""

    def weights(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Return the weights, with one sink a head."""
        sinks = 3 * np.random.default_rng(seed + 1).standard_normal(self.heads)
        name = "model.layers.0.self_attn.sinks"
        return {**super().weights(seed), name: sinks.astype(np.float32)}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifact]:
    """Compile the model for this CPU and for Vulkan."""
    if not host_profiles():
        pytest.skip("this machine runs none of the CPU libraries")
    folder = tmp_path_factory.mktemp("sinks")
    source = SinkSource(hidden=72, heads=6, kv_heads=2, head_dim=18, vocabulary=301)
    source.write(folder / "model")
    with (
        mock.patch.object(config_module, "attention_variants", return_value=VARIANTS),
        mock.patch.object(huggingface, "check_shapes"),  # it knows the tensors of real families
        mock.patch.object(library, "DECODE_BATCHES", (1,)),
    ):
        compile_model(options(folder))
    with Artifact.open(folder / "artifact") as opened:
        yield opened


def options(folder: Path) -> CompileOptions:
    return CompileOptions(
        folder / "model",
        folder / "artifact",
        quantization="q0f16",
        targets=(f"cpu-{host_profiles()[0]}", "vulkan-subgroup8"),
    )


@pytest.mark.parametrize("device", ["cpu", "vulkan"])
def test_logits_are_the_references_and_the_golden_results_are_met(
    artifact: Artifact, device: str
) -> None:
    model = artifact.manifest.model
    assert model.attention == VARIANTS
    engine = open_engine(artifact, device=device, threads=1)
    try:
        ids = token_ids(engine, TOKENS)
        wanted = llama_logits(model, artifact_weights(artifact), ids)
        assert gates.FP16.violations(gates.FP16.measure(engine.score(ids), wanted)) == []
        decoded = stepped(engine, ids[:60])
        assert gates.FP16.violations(gates.FP16.measure(decoded, wanted[:60])) == []
        if device == "cpu":
            np.testing.assert_array_equal(decoded, engine.score(ids)[:60])
    finally:
        engine.close()
    checks = verification.verify(artifact, device=device)
    assert [check for check in checks if not check.passed] == []
    kernels = " ".join(check.name for check in checks)
    assert "window40_sinks" in kernels
    assert "cap4_0_alibi" in kernels
