"""The verbs around kernel times; tests/engine/test_kernel_times.py measures real ones."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Ferry
from kernel_measurements import KERNELS, measurement

from ferrylm.cli import bench_kernels
from ferrylm.cli import report as report_verb
from ferrylm.cli.bench_kernels import KernelRequest
from ferrylm.report.measurement import Measurement, read_measurement, to_json
from ferrylm.runtime.artifact import Artifact


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[KernelRequest]:
    """Return the requests that reach the measurement, which is made up."""
    requests: list[KernelRequest] = []

    def measure(request: KernelRequest, _output: Any) -> Measurement:
        requests.append(request)
        return measurement()

    monkeypatch.setattr(bench_kernels, "measure_kernels", measure)
    monkeypatch.setattr(report_verb, "measure_kernels", measure)
    return requests


def test_the_table_has_every_kernel_with_its_share_of_the_bandwidth(
    ferry: Ferry, artifact: Path, asked: list[KernelRequest]
) -> None:
    ended = ferry("bench", str(artifact), "--kernels")
    assert ended.code == 0
    head = "| `norm_plain_q4_int16_500x64_batch1` | 1 | 20.0 | 33.6 | 0.020 | 1.0 | 50.0 | 3.2 |"
    assert head in ended.stdout
    assert all(f"`{kernel.name}`" in ended.stdout for kernel in KERNELS)
    assert "8 launches (8 per token), 0.059 ms in kernels, 0.080 ms the whole step" in ended.stdout
    assert "8 launches (0.125 per token)" in ended.stdout
    assert "bandwidth: 2.0 GB/s (measured)" in ended.stdout


def test_options_reach_the_measurement(
    ferry: Ferry, artifact: Path, asked: list[KernelRequest]
) -> None:
    ferry("bench", str(artifact), "--kernels", "-p", "0", "-d", "5,9", "--batch", "4",
          "-r", "2", "-t", "3", "--bandwidth", "3100", "--device", "cpu")  # fmt: skip
    ferry("bench", str(artifact), "--kernels", "-n", "0")
    assert asked[0] == KernelRequest(artifact, 0, True, (5, 9), 4, 3, 2, "cpu", None, 3100.0)
    assert (asked[1].prompt_tokens, asked[1].decode, asked[1].depths) == (512, False, (128,))


def test_json_is_what_report_reads(
    ferry: Ferry, artifact: Path, asked: list[KernelRequest]
) -> None:
    text = ferry("bench", str(artifact), "--kernels", "--json").stdout
    assert read_measurement(text.encode(), what="x") == measurement()


def test_csv_and_jsonl_have_a_row_for_each_kernel(
    ferry: Ferry, artifact: Path, asked: list[KernelRequest]
) -> None:
    rows = list(
        csv.DictReader(io.StringIO(ferry("bench", str(artifact), "--kernels", "-o", "csv").stdout))
    )
    lines = ferry("bench", str(artifact), "--kernels", "-o", "jsonl").stdout.splitlines()
    assert len(rows) == len(lines) == 2 * len(KERNELS)
    first = json.loads(lines[0])
    assert first["kernel"] == rows[0]["kernel"] == "norm_plain_q4_int16_500x64_batch1"
    assert first["gb_s"] == pytest.approx(1.0)
    assert float(rows[0]["bandwidth_percent"]) == pytest.approx(50.0)


def test_nothing_to_measure_is_refused(ferry: Ferry, artifact: Path) -> None:
    ended = ferry("bench", str(artifact), "--kernels", "-p", "0", "-n", "0")
    assert ended.code == 2
    assert "nothing to measure" in ended.stderr


def times_of(artifact: Path, folder: Path) -> Path:
    with Artifact.open(artifact) as opened:
        found = measurement(artifact_id=opened.manifest.artifact_id)
    path = folder / "times.json"
    path.write_text(json.dumps(to_json(found)))
    return path


def test_a_report_is_written_from_times_without_running_anything(
    ferry: Ferry, artifact: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    page.write_text("the old one")
    times = times_of(artifact, tmp_path)
    ended = ferry("report", str(artifact), "-o", str(page), "--from", str(times), "--json")
    assert ended.code == 0, ended.stderr
    assert ended.document["size_bytes"] == page.stat().st_size
    assert page.read_text().startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.part"))


def test_a_report_measures_where_it_is_given_no_times(
    ferry: Ferry, artifact: Path, tmp_path: Path, asked: list[KernelRequest]
) -> None:
    page = tmp_path / "report.html"
    ended = ferry("report", str(artifact), "-o", str(page), "-p", "64", "-d", "7")
    assert ended.code == 0, ended.stderr
    assert (asked[0].prompt_tokens, asked[0].depths, asked[0].decode) == (64, (7,), True)
    assert "Sample 0.1M" in page.read_text()


def test_times_of_another_artifact_are_refused(
    ferry: Ferry, artifact: Path, tmp_path: Path
) -> None:
    times = tmp_path / "times.json"
    times.write_text(json.dumps(to_json(measurement())))
    page = tmp_path / "report.html"
    ended = ferry("report", str(artifact), "-o", str(page), "--from", str(times))
    assert ended.code == 2
    assert "abababababab" in ended.stderr
    assert not page.exists()


def test_a_file_that_holds_no_times_is_refused(
    ferry: Ferry, artifact: Path, tmp_path: Path
) -> None:
    times = tmp_path / "times.json"
    times.write_text("[]")
    ended = ferry("report", str(artifact), "-o", str(tmp_path / "r.html"), "--from", str(times))
    assert ended.code == 1
    assert "times.json: not a table of kernel times" in ended.stderr


def test_a_missing_folder_is_refused_before_anything_is_measured(
    ferry: Ferry, artifact: Path, tmp_path: Path, asked: list[KernelRequest]
) -> None:
    ended = ferry("report", str(artifact), "-o", str(tmp_path / "no" / "r.html"))
    assert ended.code == 2
    assert not asked
