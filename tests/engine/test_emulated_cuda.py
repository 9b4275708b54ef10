"""Whole models as NVIDIA's chips run them, on the host's CPU: tests/support/cuda_emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from ferrylm.compile import library
from ferrylm.compile.compiler import compile_model
from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.compile.options import CompileOptions
from ferrylm.runtime import verification
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine
from tests.engine.built_artifacts import host_profiles
from tests.engine.opened import prefilled, token_ids
from tests.engine.tiny_sources import TinySource
from tests.support.cuda_emulator.model_library import EmulatedChip

# Chips of each tier: Hopper multiplies by wgmma, Turing has neither that nor asynchronous copies.
CHIPS = (("sm90", "90a"), ("sm75", "75"))
MODEL = TinySource(hidden=96, inner=160, heads=6, kv_heads=2, head_dim=16, vocabulary=301, layers=1)


@pytest.fixture(scope="module", params=CHIPS, ids=str)
def artifact(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Artifact]:
    """Open the model's artifact for an emulated chip."""
    if not host_profiles():
        pytest.skip("no profile has what this machine runs")
    tier, arch = request.param
    chip = EmulatedChip(TIERS[tier], arch)
    folder: Path = tmp_path_factory.mktemp(f"emulated-{arch}")
    MODEL.write(folder / "source")
    options = CompileOptions(
        folder / "source",
        folder / "artifact",
        quantization="q4f16",
        head_quantization="q4f16",
        targets=(f"cpu-{host_profiles()[0]}",),
        arithmetic="int16",
    )
    with chip.for_processors(), mock.patch.object(library, "DECODE_BATCHES", (1, 8)):
        compile_model(options)
    chip.register()
    with Artifact.open(folder / "artifact") as opened:
        yield opened


def test_the_golden_results_of_kernels_and_steps_are_met(artifact: Artifact) -> None:
    checks = verification.verify(artifact, device="cpu")
    assert [check for check in checks if not check.passed] == []
    assert len([check for check in checks if check.name.startswith("kernel ")]) > 10
    assert any(check.name == "greedy trace in batches of 8" for check in checks)


def test_a_prompt_in_parts_gives_the_answer_of_a_prompt_in_one(artifact: Artifact) -> None:
    engine = open_engine(artifact, device="cpu", threads=1, max_sequences=2)
    try:
        ids = token_ids(engine, 90)
        _, whole = prefilled(engine, ids)
        _, parts = prefilled(engine, ids, [1, 40, 72])
        deviation = whole.std()
        assert np.abs(whole - parts).max() <= 0.02 * deviation
    finally:
        engine.close()
