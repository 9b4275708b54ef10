"""A whole compile of a tiny model, from a Hugging Face folder to a loadable artifact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from ferrylm.compile import library
from ferrylm.compile.compiler import compile_model
from ferrylm.compile.options import CompileOptions, CompileResult
from ferrylm.compile.targets import expand_targets, known_targets
from ferrylm.errors import ArtifactError, SourceError, UnsupportedModelError, UsageError
from ferrylm.relax_models.config import model_config
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine
from ferrylm.runtime.manifest import Manifest, manifest_files
from ferrylm.runtime.progress import Progress
from ferrylm.schedules.cpu.profile import PROFILES
from tests.engine.built_artifacts import host_profiles
from tests.engine.tiny_sources import TinySource

SOURCE = TinySource(layers=1)
PROFILE = (host_profiles() or ["x86-64-v3"])[0]


def options(source: Path, output: Path, **changes: Any) -> CompileOptions:
    return CompileOptions(source, output, **{"targets": (f"cpu-{PROFILE}",), **changes})


def manifest_of(folder: Path) -> Manifest:
    with Artifact.open(folder) as artifact:
        artifact.verify_all()
        return artifact.manifest


@pytest.fixture(scope="module", autouse=True)
def one_batch() -> Iterator[None]:
    """Compile decode for one batch: four would take twice the time and prove nothing more."""
    with mock.patch.object(library, "DECODE_BATCHES", (1,)):
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SOURCE.write(tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(scope="module")
def compiled(source: Path, tmp_path_factory: pytest.TempPathFactory) -> CompileResult:
    return compile_model(options(source, tmp_path_factory.mktemp("compiled") / "a"))


def test_a_compile_in_another_process_and_place_gives_the_same_bytes(
    compiled: CompileResult, tmp_path: Path
) -> None:
    folder = SOURCE.write(tmp_path / "model")
    script = (
        "import sys, pathlib; from ferrylm.compile import library; library.DECODE_BATCHES = (1,);"
        "from ferrylm.compile.compiler import compile_model;"
        "from ferrylm.compile.options import CompileOptions;"
        "compile_model(CompileOptions(*map(pathlib.Path, sys.argv[1:3]), targets=(sys.argv[3],)))"
    )
    output = tmp_path / "elsewhere"
    command = [sys.executable, "-c", script, str(folder), str(output), f"cpu-{PROFILE}"]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=200)
    assert manifest_of(output).artifact_id == compiled.artifact_id
    for name in os.listdir(compiled.path):
        assert (output / name).read_bytes() == (compiled.path / name).read_bytes(), name


def test_the_result_says_what_was_published(compiled: CompileResult) -> None:
    manifest = manifest_of(compiled.path)
    assert compiled.artifact_id == manifest.artifact_id
    sizes = {file.path: file.size_bytes for file in manifest_files(manifest)}
    assert compiled.size_bytes == sum(sizes.values())
    assert {name: (compiled.path / name).stat().st_size for name in sizes} == sizes
    assert set(compiled.seconds) >= {"source", "libraries", "weights", "publish"}
    assert [library.target for library in manifest.libraries] == [f"cpu-{PROFILE}"]
    assert manifest.libraries[0].arithmetic == "int16"
    assert manifest.model.vocab_size == SOURCE.vocabulary


def test_a_compile_over_an_artifact_replaces_it_and_cleans_up(
    source: Path, compiled: CompileResult, tmp_path: Path
) -> None:
    output = tmp_path / "a"
    first = compile_model(options(source, output, quantization="q0f16"))
    second = compile_model(options(source, output))
    assert second.artifact_id == compiled.artifact_id != first.artifact_id
    assert sorted(os.listdir(output)) == sorted(os.listdir(compiled.path))


def test_random_weights_of_a_bare_config_are_those_of_the_seed(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SOURCE.config()))
    logits = []
    for seed in (0, 1):
        compile_model(options(config, tmp_path / f"{seed}", weights="random", seed=seed))
        with Artifact.open(tmp_path / f"{seed}") as artifact:
            assert artifact.manifest.weights.files == ()
            assert artifact.manifest.tokenizer is None
            for _ in range(2):
                engine = open_engine(artifact, threads=1)
                logits.append(engine.score(np.arange(20, dtype=np.int32)))
                engine.close()
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.isfinite(logits[0]).all()
    assert not np.array_equal(logits[0], logits[2])


def test_a_bare_config_without_random_weights_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SOURCE.config()))
    with pytest.raises(UsageError, match="--weights random"):
        compile_model(options(config, tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_longer_context_than_the_models_own_is_not_made_up() -> None:
    config = {**SOURCE.config(), "sliding_window": None}
    assert model_config(config, 40).context_length == 40
    assert model_config(config, 100_000).context_length == SOURCE.context


def test_progress_is_told_in_order_and_to_its_end(source: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    compile_model(options(source, tmp_path / "a", context_length=40), told.append)
    assert manifest_of(tmp_path / "a").model.context_length == 40
    stages = list(dict.fromkeys(step.stage for step in told))
    assert stages[:2] == ["libraries", "weights"]
    for stage in ("libraries", "weights"):
        counts = [(step.done, step.total) for step in told if step.stage == stage]
        assert counts == sorted(counts)
        assert counts[-1][0] == counts[-1][1] > 0


UNSUPPORTED: dict[str, dict[str, Any]] = {
    "layers that attend in an unknown way": {
        "sliding_window": 32,
        "layer_types": ["linear_attention"] * 8,
    },
    "biases of attention": {"bias": "model.layers.0.self_attn.q_proj"},
    "a bias after attention in Qwen2": {
        "model_type": "qwen2",
        "bias": "model.layers.0.self_attn.o_proj",
    },
    "biases of the feed-forward part": {"bias": "model.layers.0.mlp.down_proj"},
    "an unknown type": {"model_type": "zephyr9"},
    "a mixture of experts": {"model_type": "mixtral", "num_local_experts": 8},
    "another activation": {"hidden_act": "gelu"},
    "another RoPE": {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}},
}


@pytest.mark.parametrize("changes", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_a_model_that_is_not_supported_is_refused_before_anything_is_written(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = SOURCE.write(tmp_path / "model", **changes)
    output = tmp_path / "a"
    with pytest.raises(UnsupportedModelError):
        compile_model(options(folder, output))
    assert not output.exists()


def test_a_refused_model_leaves_the_old_artifact_as_it_was(
    compiled: CompileResult, tmp_path: Path
) -> None:
    folder = SOURCE.write(tmp_path / "model", hidden_act="relu")
    before = {name: (compiled.path / name).read_bytes() for name in os.listdir(compiled.path)}
    with pytest.raises(UnsupportedModelError):
        compile_model(options(folder, compiled.path))
    assert {n: (compiled.path / n).read_bytes() for n in os.listdir(compiled.path)} == before


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    for field, value in (("intermediate_size", 112), ("num_hidden_layers", 2), ("vocab_size", 288)):
        folder = SOURCE.write(tmp_path / field, **{field: value})
        with pytest.raises(SourceError):
            compile_model(options(folder, tmp_path / "a"))
        assert not (tmp_path / "a").exists()


def test_a_folder_with_foreign_files_is_refused_and_left_alone(
    source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is not of an artifact"):
        compile_model(options(source, output))
    assert os.listdir(output) == ["notes.txt"]


def test_compiling_onto_the_source_is_refused(tmp_path: Path) -> None:
    folder = SOURCE.write(tmp_path / "model")
    before = sorted(os.listdir(folder))
    with pytest.raises(ArtifactError):
        compile_model(options(folder, folder))
    assert sorted(os.listdir(folder)) == before


WRONG_OPTIONS: dict[str, Callable[[], object]] = {
    "quantization": lambda: CompileOptions(Path("a"), Path("b"), quantization="q3f16"),
    "head": lambda: CompileOptions(Path("a"), Path("b"), head_quantization="int4"),
    "arithmetic": lambda: CompileOptions(Path("a"), Path("b"), arithmetic="bf16"),
    "weights": lambda: CompileOptions(Path("a"), Path("b"), weights="some"),
    "no target": lambda: CompileOptions(Path("a"), Path("b"), targets=()),
    "context": lambda: CompileOptions(Path("a"), Path("b"), context_length=0),
    "target": lambda: expand_targets(("cpu-pentium",)),
    "another kind": lambda: expand_targets(("cpu", "metal")),
}


@pytest.mark.parametrize("make", WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys())
def test_an_option_that_makes_no_sense_is_refused_with_what_would(
    make: Callable[[], object],
) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.wanted
    assert caught.value.exit_code == 2


def test_targets_name_each_library_once_in_the_order_given() -> None:
    assert expand_targets(("cpu",)) == [f"cpu-{name}" for name in PROFILES]
    assert expand_targets(("cpu-x86-64-v4-vnni",) * 2) == ["cpu-x86-64-v4-vnni"]
    every_cpu = expand_targets(("cpu-aarch64-dotprod", "cpu"))
    assert every_cpu[0] == "cpu-aarch64-dotprod"
    assert sorted(every_cpu) == sorted(f"cpu-{name}" for name in PROFILES)
    everything = expand_targets(("all",))
    assert set(everything) >= set(every_cpu) | set(expand_targets(("vulkan",)))
    assert len(set(everything)) == len(everything)
    assert set(known_targets()) > set(everything)
    assert "vulkan-subgroup8" in everything
    assert "vulkan-subgroup8-dot" not in everything, "it serves tests, and is named for them"
    assert expand_targets(("vulkan-subgroup8-dot",)) == ["vulkan-subgroup8-dot"]
    assert {name for name in everything if name.endswith("-matrix")} == {
        "vulkan-subgroup32-matrix",
        "rocm-wave32-matrix",
        "rocm-wave64-matrix",
    }
