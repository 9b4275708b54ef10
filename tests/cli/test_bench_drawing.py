"""The benchmark of a device that draws tokens by itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from artifact_samples import sample_manifest
from cli_fakes import FakeEngine

from ferrylm.cli import bench_report
from ferrylm.cli.bench_measure import HostPart, Timing, measure
from ferrylm.cli.bench_plan import BenchTest
from ferrylm.runtime.ahead import AheadStatistics

SUBJECT = bench_report.Subject(
    name="tiny", path="dist/tiny", artifact_id="ab" * 32, build="0.1.0", tvm="0.27.0",
    cpu="Some CPU", device="Some GPU", backend="CUDA", target="cuda-sm90", arithmetic="int16",
    quantization="q4f16", kv_dtype="float16", bits_per_weight=4.5, size_bytes=100 << 20,
    parameters=134_520_000, prefill_chunk=128, largest_batch=8, weight_bytes_per_token=80_000_000,
    kv_bytes_per_token=20_000,
)  # fmt: skip


def result(timing: Timing) -> bench_report.Result:
    return bench_report.Result(SUBJECT, timing, 2, "2026-11-21T12:00:00+00:00", 10.0)


@dataclass
class DrawingEngine(FakeEngine):
    """Draws by itself: a step takes 10 ms, of which the host waits 9.9; every fourth comes late."""

    draws: bool = True
    ahead_statistics: AheadStatistics = field(default_factory=AheadStatistics)
    begun: list[tuple[Any, Any]] = field(default_factory=list)

    def begin_drawing(self, sequence: Any, draws: Any) -> None:
        self.begun.append((sequence, draws))

    def next_reports(self, sequences: list[Any]) -> None:
        assert [sequence for sequence, _ in self.begun[-len(sequences) :]] == sequences
        self.now_ns += self.decode_ns
        self.ahead_statistics.steps += 1
        self.ahead_statistics.waited_s += 0.0099
        self.ahead_statistics.starved += self.ahead_statistics.steps % 4 == 0
        self.calls.append(("draw", len(sequences)))


def test_a_device_that_draws_generates_as_in_an_answer_and_says_who_waited() -> None:
    engine = DrawingEngine(sample_manifest().libraries[0], max_batch=2)
    test = BenchTest(0, 8, 3, 2)
    timing = measure(engine, test, repetitions=2, clock=lambda: engine.now_ns)
    assert engine.calls == 3 * [("prefill", 3), ("prefill", 3), *8 * [("draw", 2)]]
    assert {draws.most for _, draws in engine.begun} == {8}
    assert all(0 <= draws.last_id < engine.vocab_size for _, draws in engine.begun)
    assert all(sequence.closed for sequence in engine.sequences)
    assert timing.samples_ns == (80_000_000, 80_000_000)
    assert timing.host is not None
    assert timing.host.steps == 16
    assert timing.host.busy_us_per_step == pytest.approx(100, abs=1)
    assert timing.host.dry_percent == 25


def test_the_table_says_who_waited_where_the_device_draws() -> None:
    timing = Timing(BenchTest(0, 8, 0), (80_000_000,), HostPart(8, 800_000, 2))
    drawn, plain = result(timing), result(replace(timing, host=None))
    tail = bench_report.markdown_tail([plain, drawn])
    assert "host in tg8: busy for 100 µs a step; the device had run dry before 25.0 %" in tail
    assert tail.count("host in") == 1
    document = bench_report.document(drawn)
    assert (document["host_us_per_step"], document["device_dry_percent"]) == (100.0, 25.0)
    assert bench_report.document(plain)["host_us_per_step"] is None
