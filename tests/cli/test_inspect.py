from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from artifact_samples import change_manifest, sample_manifest
from cli_fakes import Ferry

from ferrylm.cli import traffic
from ferrylm.cli.inspect_report import attention_words, selection_rule
from ferrylm.cli.memory_plan import plan_memory
from ferrylm.cli.units import binary_size, duration, short_count
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.devices import Machine
from ferrylm.runtime.engine_plan import DEFAULT_CONTEXT
from ferrylm.runtime.manifest import AttentionVariant, Parameter, TensorEntry

V3 = HostCpu("x86_64", frozenset({"avx2", "fma"}), "Some CPU", 4, 2)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    set_machine(monkeypatch, Machine(V3))


def set_machine(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr("ferrylm.cli.inspect_report.this_machine", lambda _kinds: machine)


def test_inspect_shows_model_files_libraries_and_memory(ferry: Ferry, artifact: Path) -> None:
    ended = ferry("inspect", str(artifact))
    assert ended.code == 0, ended.stderr
    for text in (
        "Sample 0.1M (llama, ",
        "1 layers, hidden 64, 4 heads over 2 kv heads of 16, vocabulary 64, context 256",
        "q8f16+q4f16, 6.12 bits per weight",
        "chat template",
        "library cpu-x86-64-v3",
        "avx2 fma avx512f avx512vl",
        "this machine runs cpu-x86-64-v3",
    ):
        assert text in ended.stdout
    assert "The rule" not in ended.stdout


def test_layers_that_attend_in_another_way_are_told_apart() -> None:
    window = AttentionVariant(window_tokens=4096, soft_cap=50.0)
    whole = replace(window, window_tokens=None, sinks=True)
    model = replace(sample_manifest().model, num_layers=4)
    assert attention_words(model) == []
    found = attention_words(replace(model, attention=(window, AttentionVariant(), window, whole)))
    assert found == [
        (
            "attention",
            "window of 4096 tokens, scores capped at 50 in 2 of 4 layers; plain in 1 of 4 layers; "
            "scores capped at 50, sinks in 1 of 4 layers",
        )
    ]


def test_explain_prints_the_rule_and_a_verdict_for_each_library(
    ferry: Ferry, artifact: Path
) -> None:
    text = ferry("inspect", str(artifact), "--explain").stdout
    assert selection_rule() in text
    assert "cpu-x86-64-v3: can run, chosen: " in text
    assert "cpu-x86-64-v4: cannot run: needs the CPU features avx512f, avx512vl" in text


def test_the_rule_is_the_one_beside_the_code() -> None:
    rule = selection_rule()
    assert rule.startswith("1. A library can run if ")
    assert "\n3. " in rule
    assert "Raises" not in rule


def test_json_holds_it_all(ferry: Ferry, artifact: Path) -> None:
    document = ferry("inspect", str(artifact), "--json", "-c", "100").document
    assert document["name"] == "Sample 0.1M"
    assert document["model"]["num_kv_heads"] == 2
    assert document["parameters"] == 64 * 64 + 48 * 64 + 64
    assert document["weights"]["size_bytes"] == 64 * 32 + 64 * 4 + 48 * 64 + 48 * 4 + 64 * 4
    assert {file["role"] for file in document["files"]} == {
        "weights", "tokenizer", "chat template", "golden data", "library cpu-x86-64-v3",
        "library cpu-x86-64-v4",
    }  # fmt: skip
    for file in document["files"]:
        assert (artifact / file["path"]).stat().st_size == file["size_bytes"]
    memory = document["memory"][0]
    assert memory["kv_bytes_per_token"] == 2 * 1 * 2 * 16 * 2
    assert memory["kv_bytes"] == 100 * 128
    assert memory["weights_bytes"] == 64 * 4 + 48 * 68
    assert memory["total_bytes"] == 100 * 128 + 64 * 4 + 48 * 68 + (1 << 20)
    assert document["selection"]["chosen"] == "cpu-x86-64-v3"


def test_an_artifact_that_cannot_run_here_is_shown_all_the_same(
    ferry: Ferry, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = HostCpu("aarch64", frozenset({"asimd"}), "Some Arm", 4, 4)
    set_machine(monkeypatch, Machine(arm))
    ended = ferry("inspect", str(artifact), "--explain")
    assert ended.code == 0
    assert "this machine runs none: " in ended.stdout
    assert "needs x86_64, this machine is aarch64" in ended.stdout
    document = ferry("inspect", str(artifact), "--json").document
    assert document["selection"]["chosen"] is None


def test_an_unknown_target_gets_the_nearest_name(ferry: Ferry, artifact: Path) -> None:
    ended = ferry("inspect", str(artifact), "--target", "cpu-x86-64v3")
    assert ended.code == 1
    assert "did you mean cpu-x86-64-v3?" in ended.stderr


def test_the_context_is_the_engines_default_and_at_most_the_models(
    ferry: Ferry, artifact: Path
) -> None:
    change_manifest(artifact, ("model", "context_length"), 100_000)
    memory = ferry("inspect", str(artifact), "--json").document["memory"][0]
    assert memory["context_tokens"] == DEFAULT_CONTEXT
    ended = ferry("inspect", str(artifact), "-c", "100001")
    assert ended.code == 2
    assert "1 to 100000" in ended.stderr


def test_text_of_an_artifact_is_no_markup(ferry: Ferry, artifact: Path) -> None:
    change_manifest(artifact, ("name",), "[bold]x[/bold] :smile:")
    assert "[bold]x[/bold] :smile:" in ferry("inspect", str(artifact)).stdout


def test_the_tied_embedding_is_read_whole_and_an_untied_one_row_by_row() -> None:
    manifest = sample_manifest()
    library = replace(
        manifest.libraries[0],
        parameters=(
            Parameter("embedding.codes", "uint8", (64, 32), ("embedding.codes",), None),
            Parameter("final_norm", "float32", (64,), ("final_norm",), None),
        ),
    )
    tied = traffic.weight_bytes_per_token(manifest, library)
    untied_model = replace(manifest.model, tied_embedding=False)
    untied = traffic.weight_bytes_per_token(replace(manifest, model=untied_model), library)
    assert (tied, untied) == (64 * 32 + 256, 256)


def test_a_tied_matrix_that_is_held_twice_is_counted_once() -> None:
    manifest = sample_manifest()
    library = replace(
        manifest.libraries[0],
        parameters=(
            Parameter("embedding.codes", "uint8", (64, 32), ("embedding.codes",), None),
            Parameter("head", "uint8", (64, 40), ("embedding.codes", "embedding.scale"), "pack"),
        ),
    )
    assert traffic.weight_bytes_per_token(manifest, library) == 64 * 40


def test_parameters_are_weights_not_their_scales() -> None:
    tensors = (
        TensorEntry("a.codes", "uint8", (4, 16), None),
        TensorEntry("a.scale", "float16", (4, 1), None),
        TensorEntry("a.minimum", "float16", (4, 1), None),
        TensorEntry("b.codes", "int8", (2, 32), None),
        TensorEntry("c.weight", "float16", (3, 5), None),
        TensorEntry("norm", "float32", (7,), None),
    )
    assert traffic.parameter_count(tensors) == 128 + 64 + 15 + 7
    assert traffic.stored_bytes(tensors) == 64 + 8 + 8 + 64 + 30 + 28


def test_memory_grows_with_the_context() -> None:
    manifest = sample_manifest()
    small, large = (plan_memory(manifest, manifest.libraries[0], n) for n in (1, 1001))
    assert large.total_bytes - small.total_bytes == 1000 * small.kv_bytes_per_token


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (1 << 20, "1.00 MiB")],
)
def test_sizes_are_binary(size_bytes: int, text: str) -> None:
    assert binary_size(size_bytes) == text


def test_counts_and_durations_have_three_digits() -> None:
    assert [short_count(n) for n in (8_030_000_000, 134_520_000, 4200)] == [
        "8.03 B", "134.52 M", "4.20 K",
    ]  # fmt: skip
    assert [duration(s) for s in (0.214, 13.44, 125.2)] == ["0.21 s", "13.4 s", "2 min 5 s"]
