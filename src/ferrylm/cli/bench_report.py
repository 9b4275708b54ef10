"""Write bench results as llama-bench does, so that its readers and plots take them."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass

from ferrylm.cli.bench_measure import Timing
from ferrylm.cli.units import binary_size, short_count

FORMATS = ("md", "json", "jsonl", "csv")

_COLUMNS = {  # least widths
    "model": 30,
    "size": 10,
    "params": 10,
    "backend": 10,
    "threads": 7,
    "test": 15,
    "t/s": 20,
    "median t/s": 10,
    "GB/s": 7,
    "% of read bw": 12,
}
_LEFT = ("model", "backend")


@dataclass(frozen=True)
class Subject:
    """What is measured: the artifact, the chosen library and the machine."""

    name: str
    path: str
    artifact_id: str
    build: str  # version of ferrylm
    tvm: str
    cpu: str
    device: str  # GPU and driver; "" on the CPU
    backend: str  # "CPU", "VULKAN"
    target: str
    arithmetic: str
    quantization: str
    kv_dtype: str
    bits_per_weight: float
    size_bytes: int
    parameters: int
    prefill_chunk: int
    largest_batch: int  # sequences that share a read of the weights, at most
    weight_bytes_per_token: int
    kv_bytes_per_token: int
    layers: int = 1
    windows: tuple[int, ...] = ()  # of the layers that have one, in tokens

    def kv_bytes(self, positions: float) -> float:
        """Return the keys and values that are read by a token that sees so many positions.

        A layer with a window reads those of the window.
        """
        beyond = sum(max(0.0, positions - window) for window in self.windows)
        return self.kv_bytes_per_token * (positions - beyond / self.layers)

    @property
    def label(self) -> str:
        """Return the model's name and quantization."""
        return f"{self.name} {self.quantization}"


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    subject: Subject
    timing: Timing
    threads: int
    started: str  # UTC, ISO 8601
    bandwidth_gb_s: float | None  # measured just before; None where it could not be
    bandwidth_method: str = ""  # of a GPU's

    @property
    def bytes_per_token(self) -> float | None:
        """Return what one decoded token reads: weights, and keys and values at mid-test.

        Sequences of a batch share each read of the weights. None for a prompt, whose tokens do.
        """
        test = self.timing.test
        if test.prompt_tokens:
            return None
        positions = test.untimed_tokens + (test.generated_tokens + 1) / 2
        reads = -(-test.sequences // self.subject.largest_batch) / test.sequences
        weights = reads * self.subject.weight_bytes_per_token
        return weights + self.subject.kv_bytes(positions)

    @property
    def read_gb_s(self) -> float | None:
        """Return the rate at which the median repetition must have read memory."""
        per_token = self.bytes_per_token
        return None if per_token is None else per_token * self.timing.median_tok_s / 1e9

    @property
    def bandwidth_percent(self) -> float | None:
        """Return that rate as a share of the measured bandwidth of as many threads."""
        rate = self.read_gb_s
        if rate is None or not self.bandwidth_gb_s:
            return None
        return 100 * rate / self.bandwidth_gb_s


def markdown_head(first: Result) -> str:
    """Return the first two lines of a table that `first` begins."""
    widths = _widths(first.subject)
    rules = {
        name: "-" * width if name in _LEFT else "-" * (width - 1) + ":"
        for name, width in widths.items()
    }
    return f"{_row({name: name for name in widths}, widths)}\n{_row(rules, widths)}"


def markdown_row(result: Result) -> str:
    """Return one line of the table."""
    subject, timing = result.subject, result.timing
    cells = {
        "model": subject.label,
        "size": binary_size(subject.size_bytes),
        "params": short_count(subject.parameters),
        "backend": subject.backend,
        "threads": str(result.threads),
        "test": timing.test.name,
        "t/s": f"{timing.mean_tok_s:.2f} ± {timing.deviation_tok_s:.2f}",
        "median t/s": f"{timing.median_tok_s:.2f}",
        "GB/s": _number(result.read_gb_s, ".2f"),
        "% of read bw": _number(result.bandwidth_percent, ".1f"),
    }
    return _row(cells, _widths(subject))


def markdown_tail(results: list[Result]) -> str:
    """Return what must be known to compare the numbers."""
    subject = results[0].subject
    measured = {r.threads: r.bandwidth_gb_s for r in results if r.bandwidth_gb_s is not None}
    each = (f"{gb_s:.1f} GB/s with {n} threads" for n, gb_s in measured.items())
    lines = [
        f"build: ferry {subject.build}, tvm {subject.tvm}, artifact {subject.artifact_id[:12]}",
        f"target: {subject.target}, arithmetic {subject.arithmetic}, kv {subject.kv_dtype}, "
        f"{subject.bits_per_weight:.2f} bits per weight",
        f"reads per token: {binary_size(subject.weight_bytes_per_token)} of weights + "
        f"{binary_size(subject.kv_bytes_per_token)} per token of context",
        f"cpu: {subject.cpu}",
    ]
    if subject.device:
        lines.append(f"device: {subject.device}")
        each = (f"{gb_s:.1f} GB/s, {results[0].bandwidth_method}" for gb_s in measured.values())
        lines.append(f"measured bandwidth: {next(each, 'not measured')}")
    else:
        lines.append(f"measured read bandwidth (lower bound): {', '.join(each) or 'not measured'}")
    lines += [line for result in results if (line := _host_line(result.timing))]
    return "\n" + "\n".join(lines)


def _host_line(timing: Timing) -> str:
    if timing.host is None:
        return ""
    return (
        f"host in {timing.test.name}: busy for {timing.host.busy_us_per_step:.0f} µs a step; "
        f"the device had run dry before {timing.host.dry_percent:.1f} % of steps"
    )


def document(result: Result) -> dict[str, object]:
    """Return a result under llama-bench's keys, followed by those it lacks."""
    subject, timing, test = result.subject, result.timing, result.timing.test
    return {
        "build_commit": subject.build,
        "cpu_info": subject.cpu,
        "gpu_info": subject.device,
        "backends": subject.backend,
        "model_filename": subject.path,
        "model_type": subject.label,
        "model_size": subject.size_bytes,
        "model_n_params": subject.parameters,
        "n_batch": subject.prefill_chunk,
        "n_threads": result.threads,
        "type_k": subject.kv_dtype,
        "type_v": subject.kv_dtype,
        "n_prompt": test.prompt_tokens,
        "n_gen": test.generated_tokens,
        "n_depth": test.depth,
        "n_sequences": test.sequences,
        "test_time": result.started,
        "avg_ns": round(timing.mean_ns),
        "stddev_ns": round(timing.deviation_ns),
        "avg_ts": timing.mean_tok_s,
        "stddev_ts": timing.deviation_tok_s,
        "samples_ns": list(timing.samples_ns),
        "samples_ts": list(timing.samples_tok_s),
        "median_ts": timing.median_tok_s,
        "target": subject.target,
        "arithmetic": subject.arithmetic,
        "bits_per_weight": subject.bits_per_weight,
        "artifact_id": subject.artifact_id,
        "tvm_version": subject.tvm,
        "bytes_per_token": _rounded(result.bytes_per_token),
        "read_gb_s": result.read_gb_s,
        "bandwidth_gb_s": result.bandwidth_gb_s,
        "bandwidth_method": result.bandwidth_method,
        "bandwidth_percent": result.bandwidth_percent,
        "host_us_per_step": timing.host and timing.host.busy_us_per_step,
        "device_dry_percent": timing.host and timing.host.dry_percent,
    }


def csv_text(results: list[Result]) -> str:
    """Return all results as CSV with a head line; lists stand as JSON."""
    documents = [document(result) for result in results]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(documents[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    for row in documents:
        writer.writerow({key: _csv_cell(value) for key, value in row.items()})
    return text.getvalue().rstrip("\n")


def _csv_cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, list) else value


def _widths(subject: Subject) -> dict[str, int]:
    return {**_COLUMNS, "model": max(_COLUMNS["model"], len(subject.label))}


def _row(cells: dict[str, str], widths: dict[str, int]) -> str:
    padded = [
        cells[name].ljust(width) if name in _LEFT else cells[name].rjust(width)
        for name, width in widths.items()
    ]
    return "| " + " | ".join(padded) + " |"


def _number(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else format(value, form)


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
