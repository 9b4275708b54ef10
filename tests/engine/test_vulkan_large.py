"""A weight matrix above 128 MiB, which a Vulkan descriptor of lavapipe could not reach whole."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from ferrylm.compile import library
from ferrylm.compile.compiler import compile_model
from ferrylm.compile.options import CompileOptions
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import probe_kind
from ferrylm.runtime.engine import open_engine
from tests.engine.built_artifacts import host_profiles
from tests.engine.opened import prefilled
from tests.engine.tiny_sources import TinySource

VOCABULARY, HIDDEN = 140_000, 1024
SOURCE = TinySource(
    hidden=HIDDEN, inner=256, layers=1, heads=4, kv_heads=2, head_dim=64, vocabulary=VOCABULARY
)
CPU, VULKAN = f"cpu-{host_profiles()[0]}", "vulkan-subgroup8-dot"


@pytest.mark.slow
def test_rows_beyond_128_mib_are_looked_up_and_multiplied(tmp_path: Path) -> None:
    probe = probe_kind("vulkan")
    assert probe.devices, probe.problem
    assert VOCABULARY * HIDDEN > 128 << 20
    (tmp_path / "config.json").write_text(json.dumps(SOURCE.config()))
    with mock.patch.object(library, "DECODE_BATCHES", (1,)):
        compile_model(
            CompileOptions(
                tmp_path / "config.json",
                tmp_path / "artifact",
                quantization="q8f16",
                targets=(CPU, VULKAN),
                weights="random",
            )
        )
    ids = np.array([0, VOCABULARY - 1, VOCABULARY - 2, 131_073], np.int32)
    found = []
    with Artifact.open(tmp_path / "artifact") as artifact:
        for target in (CPU, VULKAN):
            engine = open_engine(artifact, target=target, context_length=32)
            found.append(prefilled(engine, ids)[1])
            engine.close()
    on_cpu, on_vulkan = found
    assert on_cpu.shape == (VOCABULARY,)
    assert on_cpu.std() > 0
    assert np.abs(on_vulkan - on_cpu).max() <= 0.02 * on_cpu.std()
