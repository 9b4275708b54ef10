"""Whole models as AMD's chips run them, on the host's CPU: tests/support/amd_emulator."""

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
from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.rocm_tiers import TIERS
from ferrylm.runtime import verification
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine
from tests.engine.built_artifacts import host_profiles
from tests.engine.opened import prefilled, token_ids
from tests.engine.tiny_sources import TinySource
from tests.support.amd_emulator.model_library import EmulatedAmdChip


@dataclass(frozen=True)
class Emulation:
    """A tiny model on a chip of a tier."""

    tier: str
    chip: str
    quantization: str
    source: TinySource
    batches: tuple[int, ...] = (1,)
    backward: bool = False  # the order of threads

    def __str__(self) -> str:
        return f"{self.chip}-{self.quantization}"


WIDE = TinySource(hidden=128, heads=2, kv_heads=1, head_dim=64, tied=False, layers=1)
ODD = TinySource(hidden=72, inner=104, heads=6, kv_heads=2, head_dim=18, layers=1, family="qwen2")
EMULATIONS = (
    Emulation("wave32-matrix", "gfx1100", "q4f16", WIDE, batches=(1, 2)),
    Emulation("wave64-matrix", "gfx90a", "q8f16", ODD, backward=True),
    Emulation("wave32", "gfx1030", "q4f16", WIDE),
)


@pytest.fixture(scope="module", params=EMULATIONS, ids=str)
def artifact(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Artifact]:
    """Open the model's artifact for an emulated chip."""
    if not host_profiles():
        pytest.skip("no profile has what this machine runs")
    wanted: Emulation = request.param
    chip = EmulatedAmdChip(TIERS[wanted.tier], ARCHITECTURES[wanted.chip])
    folder: Path = tmp_path_factory.mktemp(f"emulated-{wanted.chip}")
    wanted.source.write(folder / "source")
    options = CompileOptions(
        folder / "source",
        folder / "artifact",
        quantization=wanted.quantization,
        head_quantization=wanted.quantization,
        targets=(f"cpu-{host_profiles()[0]}",),
        arithmetic="int16",
    )
    with chip.for_processors(), mock.patch.object(library, "DECODE_BATCHES", wanted.batches):
        compile_model(options)
    chip.register(backward=wanted.backward)
    with Artifact.open(folder / "artifact") as opened:
        yield opened


def test_the_golden_results_of_kernels_and_steps_are_met(artifact: Artifact) -> None:
    checks = verification.verify(artifact, device="cpu")
    assert [check for check in checks if not check.passed] == []
    assert len([check for check in checks if check.name.startswith("kernel ")]) > 10


def test_a_prompt_in_parts_gives_the_answer_of_a_prompt_in_one(artifact: Artifact) -> None:
    engine = open_engine(artifact, device="cpu", threads=1, max_sequences=2)
    try:
        ids = token_ids(engine, 90)
        _, whole = prefilled(engine, ids)
        _, parts = prefilled(engine, ids, [1, 40, 72])
        assert np.abs(whole - parts).max() <= 0.02 * whole.std()
    finally:
        engine.close()
