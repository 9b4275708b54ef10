from __future__ import annotations

import contextlib
import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifact_samples import change_manifest, sample_json, sample_manifest
from cli_fakes import FakeEngine, Ferry
from hypothesis import given
from hypothesis import strategies as st

from ferrylm.cli import bench as bench_verb
from ferrylm.cli import bench_report
from ferrylm.cli.bench_measure import Timing, measure
from ferrylm.cli.bench_plan import BenchTest, parse_numbers, plan_tests
from ferrylm.errors import MemoryLimitError, UsageError
from ferrylm.runtime.bandwidth import ReadBandwidth
from ferrylm.runtime.device_bandwidth import KERNEL_READ, DeviceBandwidth

# The keys that scripts made for llama-bench read.
LLAMA_BENCH_KEYS = {
    "build_commit", "cpu_info", "gpu_info", "backends", "model_filename", "model_type",
    "model_size", "model_n_params", "n_batch", "n_threads", "n_prompt", "n_gen", "n_depth",
    "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts", "samples_ns", "samples_ts",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("512", [512]),
        ("1,2,4", [1, 2, 4]),
        ("0", [0]),
        ("1-4", [1, 2, 3, 4]),
        ("16-64+16", [16, 32, 48, 64]),
        ("128-2048*2", [128, 256, 512, 1024, 2048]),
        ("1,8-16*2", [1, 8, 16]),
        ("5-5", [5]),
    ],
)
def test_lists_and_ranges_read_as_in_llama_bench(text: str, values: list[int]) -> None:
    assert parse_numbers(text, smallest=0, option="-p") == values


@pytest.mark.parametrize(
    "text",
    ["", ",", "x", "-1", "1.5", "4-1", "0-8*2", "1-8*1", "1-8*0", "1-8+0", "1-999", "²", "9" * 40,
     "1-" + "9" * 40, "1 2"],
)  # fmt: skip
def test_a_bad_list_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="-p"):
        parse_numbers(text, smallest=0, option="-p")


def test_a_number_below_the_smallest_is_refused() -> None:
    with pytest.raises(UsageError, match="from 1 up"):
        parse_numbers("2,0", smallest=1, option="--threads")


@given(st.text(max_size=30))
def test_any_text_is_a_short_list_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert 1 <= len(parse_numbers(text, smallest=0, option="-p")) <= 256


def test_tests_are_planned_for_each_depth_and_zeros_ask_for_none() -> None:
    tests = plan_tests([512, 0], [128], [0, 4096])
    assert [t.name for t in tests] == ["pp512", "tg128", "pp512 @ d4096", "tg128 @ d4096"]
    assert [t.context_tokens for t in tests] == [512, 129, 4608, 4224]
    with pytest.raises(UsageError, match="nothing to measure"):
        plan_tests([0], [0], [0])


def engine_with(**changes: Any) -> FakeEngine:
    return FakeEngine(sample_manifest().libraries[0], **changes)


def test_a_prompt_is_timed_in_one_call_behind_its_depth() -> None:
    engine = engine_with()
    timing = measure(engine, BenchTest(32, 0, 8), repetitions=3, clock=lambda: engine.now_ns)
    assert engine.calls == [("prefill", 8), ("prefill", 32)] * 4
    assert timing.samples_ns == (1_000_000,) * 3
    assert timing.mean_tok_s == pytest.approx(32_000)


def test_generation_decodes_one_token_at_a_time_and_does_not_time_the_first() -> None:
    engine = engine_with()
    timing = measure(engine, BenchTest(0, 5, 0), repetitions=2, clock=lambda: engine.now_ns)
    assert engine.calls == ([("prefill", 1)] + [("decode", 1)] * 5) * 3
    assert timing.samples_ns == (50_000_000,) * 2
    assert timing.median_tok_s == pytest.approx(100)


def test_a_batch_generates_in_all_its_sequences_at_once_and_counts_their_tokens() -> None:
    engine = engine_with(max_batch=3)
    (test,) = plan_tests([0], [5], [8], 3)
    assert (test.name, test.context_tokens, test.timed_tokens) == ("3x tg5 @ d8", 13, 15)
    timing = measure(engine, test, repetitions=1, clock=lambda: engine.now_ns)
    assert engine.calls == ([("prefill", 8)] * 3 + [("decode", 3)] * 5) * 2
    assert timing.median_tok_s == pytest.approx(300)
    assert [s.length for s in engine.sequences] == [13] * 6
    assert all(s.closed for s in engine.sequences)


def test_a_prompt_is_read_in_one_sequence_whatever_the_batch() -> None:
    (test, _) = plan_tests([16], [1], [0], 8)
    assert (test.name, test.sequences, test.timed_tokens) == ("pp16", 1, 16)


def test_every_repetition_has_a_sequence_of_its_own_that_is_closed() -> None:
    engine = engine_with()
    measure(engine, BenchTest(16, 0, 0), repetitions=4)
    assert [s.length for s in engine.sequences] == [16] * 5
    assert all(s.closed for s in engine.sequences)


def test_a_failing_step_closes_its_sequence() -> None:
    engine = engine_with()
    engine.vocab_size = 0
    with pytest.raises(ValueError, match="high"):
        measure(engine, BenchTest(4, 0, 0), repetitions=1)
    engine = engine_with()

    def fail(*_: object) -> None:
        raise MemoryLimitError("a", wanted="b", fix="c")

    engine.prefill = fail  # type: ignore[method-assign]
    with pytest.raises(MemoryLimitError):
        measure(engine, BenchTest(4, 0, 0), repetitions=1)
    assert engine.sequences[0].closed


def test_the_warm_up_is_not_a_sample() -> None:
    engine = engine_with()
    engine.prefill_ns = 1_000

    def clock() -> int:
        engine.prefill_ns = 10  # every run after the first is faster
        return engine.now_ns

    timing = measure(engine, BenchTest(4, 0, 0), repetitions=2, clock=clock)
    assert len(timing.samples_ns) == 2
    assert max(timing.samples_ns) <= 10


def test_statistics_are_those_of_the_rates() -> None:
    timing = Timing(BenchTest(0, 10, 0), (1_000_000_000, 2_000_000_000, 4_000_000_000))
    assert timing.samples_tok_s == (10.0, 5.0, 2.5)
    assert timing.mean_tok_s == pytest.approx(17.5 / 3)
    assert timing.median_tok_s == 5.0
    assert timing.deviation_tok_s == pytest.approx(statistics.stdev([10, 5, 2.5]))
    assert Timing(BenchTest(1, 0, 0), (5,)).deviation_ns == 0.0


def result_with(test: BenchTest, bandwidth_gb_s: float | None = 10.0) -> bench_report.Result:
    subject = bench_report.Subject(
        name="tiny", path="dist/tiny", artifact_id="ab" * 32, build="0.1.0", tvm="0.27.0",
        cpu="Some CPU", device="", backend="CPU", target="cpu-x86-64-v3", arithmetic="int8",
        quantization="q4f16", kv_dtype="float16", bits_per_weight=4.5, size_bytes=100 << 20,
        parameters=134_520_000, prefill_chunk=128, largest_batch=8,
        weight_bytes_per_token=80_000_000,
        kv_bytes_per_token=20_000,
    )  # fmt: skip
    timing = Timing(test, (100_000_000 * test.timed_tokens,) * 3)
    return bench_report.Result(subject, timing, 2, "2026-01-01T00:00:00+00:00", bandwidth_gb_s)


def test_bandwidth_counts_weights_and_the_mean_of_the_context() -> None:
    result = result_with(BenchTest(0, 3, 100))
    # The three tokens see 101, 102 and 103 positions: their own is written and read too.
    assert result.bytes_per_token == 80_000_000 + 102 * 20_000
    assert result.read_gb_s == pytest.approx(0.8204)
    assert result.bandwidth_percent == pytest.approx(8.204)


def test_a_layer_with_a_window_reads_no_more_than_that() -> None:
    result = result_with(BenchTest(0, 3, 100))
    for windows, seen in (((50, 500), 102 * 4 - 52), ((50,) * 4, 50 * 4), ((102,), 102 * 4)):
        subject = replace(result.subject, layers=4, windows=windows)
        found = replace(result, subject=subject).bytes_per_token
        assert found == pytest.approx(80_000_000 + seen * 20_000 / 4)


@pytest.mark.parametrize(("sequences", "reads"), [(2, 1), (8, 1), (9, 2), (16, 2)])
def test_sequences_of_a_batch_share_each_read_of_the_weights(sequences: int, reads: int) -> None:
    result = result_with(BenchTest(0, 3, 100, sequences))
    wanted = reads * 80_000_000 / sequences + 102 * 20_000
    assert result.bytes_per_token == pytest.approx(wanted)


def test_a_prompt_has_no_bandwidth_and_an_unmeasured_machine_no_share() -> None:
    prompt = result_with(BenchTest(512, 0, 0))
    assert (prompt.bytes_per_token, prompt.read_gb_s, prompt.bandwidth_percent) == (None,) * 3
    unmeasured = result_with(BenchTest(0, 8, 0), bandwidth_gb_s=None)
    assert unmeasured.read_gb_s is not None
    assert unmeasured.bandwidth_percent is None


def test_the_table_is_llama_benchs_with_three_more_columns() -> None:
    result = result_with(BenchTest(0, 8, 16))
    head, rule = bench_report.markdown_head(result).splitlines()
    row = bench_report.markdown_row(result)
    names = [cell.strip() for cell in head.strip("|").split("|")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert names[:7] == ["model", "size", "params", "backend", "threads", "test", "t/s"]
    assert cells[:7] == ["tiny q4f16", "100.00 MiB", "134.52 M", "CPU", "2", "tg8 @ d16",
                         "10.00 ± 0.00"]  # fmt: skip
    assert len(names) == len(cells) == len(rule.strip("|").split("|"))
    assert len({len(head), len(rule), len(row)}) == 1


def test_a_long_name_widens_its_column_on_every_line() -> None:
    result = result_with(BenchTest(512, 0, 0))
    result = replace(result, subject=replace(result.subject, name="n" * 60))
    lines = [*bench_report.markdown_head(result).splitlines(), bench_report.markdown_row(result)]
    assert len({len(line) for line in lines}) == 1


def test_a_result_has_all_of_llama_benchs_keys() -> None:
    document = bench_report.document(result_with(BenchTest(512, 0, 0)))
    assert set(document) >= LLAMA_BENCH_KEYS
    assert document["arithmetic"] == "int8"
    assert document["target"] == "cpu-x86-64-v3"
    assert document["n_prompt"] == 512
    assert document["n_gen"] == 0


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Make the verb open fake engines; return what each was opened with, and the engine."""
    opened: list[dict[str, Any]] = []

    def open_engine(artifact: Any, **options: Any) -> FakeEngine:
        engine = FakeEngine(artifact.manifest.libraries[0], threads=options["threads"] or 2)
        opened.append({**options, "engine": engine})
        return engine

    monkeypatch.setattr("ferrylm.runtime.engine.open_engine", open_engine)
    monkeypatch.setattr(
        "ferrylm.runtime.bandwidth.measure_read_bandwidth",
        lambda threads: ReadBandwidth(threads, threads * 20e9, 1 << 28, "fake"),
    )
    return opened


SHORT = ("-p", "16", "-n", "4", "-r", "2")


def test_bench_prints_a_row_for_each_test_and_what_to_know(
    ferry: Ferry, artifact: Path, engine: list[dict[str, Any]]
) -> None:
    ended = ferry("bench", str(artifact), *SHORT, "-d", "0,8")
    assert ended.code == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.split("|")[6].strip() for line in lines[2:6]] == [
        "pp16", "tg4", "pp16 @ d8", "tg4 @ d8",
    ]  # fmt: skip
    assert "arithmetic f32" in ended.stdout
    assert "target: cpu-x86-64-v3" in ended.stdout
    assert "40.0 GB/s with 2 threads" in ended.stdout
    assert engine[0]["context_length"] == 24
    assert engine[0]["engine"].closed


def test_bench_opens_an_engine_for_each_thread_count(
    ferry: Ferry, artifact: Path, engine: list[dict[str, Any]]
) -> None:
    ended = ferry("bench", str(artifact), *SHORT, "-t", "1,2", "--json")
    assert [opened["threads"] for opened in engine] == [1, 2]
    assert [row["n_threads"] for row in ended.document] == [1, 1, 2, 2]
    assert [row["bandwidth_gb_s"] for row in ended.document] == [20.0, 20.0, 40.0, 40.0]


def test_a_batch_opens_an_engine_for_as_many_sequences(
    ferry: Ferry, artifact: Path, engine: list[dict[str, Any]]
) -> None:
    ended = ferry("bench", str(artifact), *SHORT, "--batch", "4", "--json")
    assert [row["n_sequences"] for row in ended.document] == [1, 4]
    assert engine[0]["max_sequences"] == 4
    assert engine[0]["engine"].calls[-5:] == [("prefill", 1)] + [("decode", 4)] * 4


def test_on_a_gpu_the_bandwidth_is_the_devices_and_its_method_is_said(
    ferry: Ferry, artifact: Path, engine: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_threads: int) -> ReadBandwidth:
        raise AssertionError("the host's memory says nothing of a GPU")

    monkeypatch.setattr("ferrylm.runtime.bandwidth.measure_read_bandwidth", never)
    monkeypatch.setattr(
        "ferrylm.runtime.device_bandwidth.measure_device_bandwidth",
        lambda *_: DeviceBandwidth(4690.0, KERNEL_READ),
    )
    change_manifest(artifact, ("libraries", 0), gpu_library())
    ended = ferry("bench", str(artifact), *SHORT, "--device", "vulkan")
    assert ended.code == 0, ended.stderr
    assert "device: Some GPU (driver 1.2)" in ended.stdout
    assert "measured bandwidth: 4690.0 GB/s, read by a kernel" in ended.stdout
    assert "| VULKAN " in ended.stdout
    (_, row) = ferry("bench", str(artifact), *SHORT, "--device", "vulkan", "--json").document
    assert (row["gpu_info"], row["backends"]) == ("Some GPU (driver 1.2)", "VULKAN")
    assert (row["bandwidth_gb_s"], row["bandwidth_method"]) == (4690.0, KERNEL_READ)
    assert row["bandwidth_percent"] == pytest.approx(100 * row["read_gb_s"] / 4690.0)


def gpu_library() -> dict[str, Any]:
    """Return the sample's first library as one for Vulkan, as JSON."""
    found: dict[str, Any] = sample_json()["libraries"][0]
    needs = {"api_version": "1.2", "features": [], "subgroup_sizes": [32], "limits": {}}
    found |= {"kind": "vulkan", "tier": "some", "target": "vulkan-some"}
    found["requires"]["vulkan"] = needs
    return found


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_all_machine_forms_say_the_same(
    ferry: Ferry, artifact: Path, engine: list[dict[str, Any]], form: str
) -> None:
    text = ferry("bench", str(artifact), *SHORT, "-o", form).stdout
    rows: list[dict[str, Any]]
    if form == "json":
        rows = json.loads(text)
    elif form == "jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
    else:
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(json.loads(rows[0]["samples_ns"])) == 2
    assert set(rows[0]) >= LLAMA_BENCH_KEYS
    assert [(str(row["n_prompt"]), str(row["n_gen"])) for row in rows] == [("16", "0"), ("0", "4")]


def test_bench_goes_on_without_a_bandwidth(
    ferry: Ferry, artifact: Path, engine: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(threads: int) -> ReadBandwidth:
        raise MemoryLimitError("1 MiB", wanted="more", fix="close programs")

    monkeypatch.setattr("ferrylm.runtime.bandwidth.measure_read_bandwidth", refuse)
    ended = ferry("bench", str(artifact), *SHORT)
    assert ended.code == 0
    assert "not measured" in ended.stdout
    assert "read bandwidth not measured" in ended.stderr


def test_a_failing_engine_is_closed(
    ferry: Ferry, artifact: Path, engine: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Timing:
        raise MemoryLimitError("1 MiB", wanted="more", fix="close programs")

    monkeypatch.setattr("ferrylm.cli.bench_measure.measure", fail)
    assert ferry("bench", str(artifact), *SHORT).code == 1
    assert engine[0]["engine"].closed


def test_bench_formats_are_those_of_the_report() -> None:
    assert bench_verb.FORMATS == bench_report.FORMATS
