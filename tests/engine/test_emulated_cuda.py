"""Whole models as NVIDIA's chips run them, on the host's CPU: tests/support/cuda_emulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
from tests.engine.built_artifacts import GEMMA3, host_profiles
from tests.engine.opened import prefilled, token_ids
from tests.engine.tiny_sources import TinySource
from tests.support.cuda_emulator.model_library import EmulatedChip


@dataclass(frozen=True)
class Emulation:
    """A tiny model on a chip of a tier."""

    tier: str
    arch: str
    quantization: str
    source: TinySource
    batches: tuple[int, ...] = (1, 8)
    backward: bool = False  # the order of threads

    def __str__(self) -> str:
        return f"{self.arch}-{self.quantization}"


# Hopper multiplies by wgmma, Turing has neither that nor asynchronous copies; heads of 18 are no
# whole number of vectors. The second model attends within a window, on matrix units. Weights of the
# last are not quantized; a prompt's products with 168 columns take matrix units too.
EMULATIONS = (
    Emulation(
        *("sm90", "90a", "q4f16"),
        TinySource(
            hidden=96, inner=160, heads=6, kv_heads=2, vocabulary=301, layers=1, family="qwen3"
        ),
        batches=(1, 2, 16),
    ),
    Emulation(
        *("sm75", "80", "q4f16"),
        TinySource(
            *(128, 96, 1, 2, 1, 64),
            tied=False,
            family="mistral",
            settings={"sliding_window": 40, "attn_logit_softcapping": 3.0},
        ),
    ),
    Emulation(
        *("sm75", "75", "q8f16"),
        TinySource(
            hidden=72, inner=104, heads=6, kv_heads=2, head_dim=18, layers=1, family="qwen2"
        ),
        backward=True,
    ),
    Emulation(
        *("sm90", "90a", "q0f16"),
        TinySource(hidden=96, inner=168, heads=3, kv_heads=1, head_dim=32, layers=1),
        batches=(1, 2),
    ),
)


# Norms of heads and of what is added, after products on matrix units and after others; a RoPE for
# each kind of layer; a capped head, as Gemma 2 has.
EMULATIONS += (
    Emulation(
        *("sm90", "90a", "q8f16"),
        TinySource(
            hidden=96, inner=160, heads=6, kv_heads=2, vocabulary=301, family="gemma3_text",
            settings=GEMMA3,
        ),
        batches=(1, 2),
    ),
)  # fmt: skip


@pytest.fixture(scope="module", params=EMULATIONS, ids=str)
def artifact(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Artifact]:
    """Open the model's artifact for an emulated chip."""
    if not host_profiles():
        pytest.skip("no profile has what this machine runs")
    wanted: Emulation = request.param
    chip = EmulatedChip(TIERS[wanted.tier], wanted.arch)
    folder: Path = tmp_path_factory.mktemp(f"emulated-{wanted.arch}")
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
    assert [check.name for check in checks if "in batches of" in check.name]


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
