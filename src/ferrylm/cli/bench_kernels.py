"""`ferry bench --kernels`: every kernel launch of a step, at the model's real shapes."""

from __future__ import annotations

import csv
import datetime
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferrylm.cli.output import Output
from ferrylm.errors import UsageError

if TYPE_CHECKING:
    from ferrylm.report.measurement import KernelTotal, MeasuredStep, Measurement
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.observed_engine import ObservedEngine

DEFAULT_DEPTH = 128
_LAYER = re.compile(r"layers\.\d+\.")
_HEAD = (
    "| kernel | launches | µs | % of kernels | MB | GB/s | % of bw | Gop/s | arithmetic |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | :--- |",
)


@dataclass(frozen=True)
class KernelRequest:
    """What the command line asked for."""

    artifact_path: Path
    prompt_tokens: int  # 0: no prefill
    decode: bool
    depths: tuple[int, ...]
    batch: int
    threads: int | None
    repetitions: int
    device: str
    target: str | None
    bandwidth_gb_s: float | None  # None: measure it


def measure_kernels(request: KernelRequest, output: Output) -> Measurement:
    """Load the artifact and time its steps."""
    from ferrylm.cli.model_loading import check_target
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.observed_engine import open_observed_engine

    if not request.decode and not request.prompt_tokens:
        raise UsageError(
            "nothing to measure", wanted="a prompt or a generation", fix="give -p or -n a number"
        )
    with Artifact.open(request.artifact_path) as artifact:
        check_target(artifact.manifest, request.target)
        longest = artifact.manifest.model.context_length
        context = max(request.depths) + max(request.prompt_tokens, 1)
        with output.progress() as progress:
            observed = open_observed_engine(
                artifact,
                device=request.device,
                target=request.target,
                threads=request.threads,
                context_length=min(context, longest) if request.prompt_tokens else context,
                max_sequences=request.batch,
                progress=progress,
            )
        try:
            if observed.bandwidth_problem is not None and request.bandwidth_gb_s is None:
                output.note(f"bandwidth not measured: {observed.bandwidth_problem}")
            return _measured(request, artifact, observed)
        finally:
            observed.close()


def _measured(request: KernelRequest, artifact: Artifact, observed: ObservedEngine) -> Measurement:
    from ferrylm import __version__
    from ferrylm.cli.version import installed_version
    from ferrylm.report import measurement as form
    from ferrylm.runtime.cpu_features import host_cpu

    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    manifest, plan, backend = artifact.manifest, observed.plan, observed.engine.backend
    found = observed.bandwidth
    gb_s, method = (found.gb_s, found.method) if found is not None else (None, "not measured")
    if request.bandwidth_gb_s is not None:
        gb_s, method = request.bandwidth_gb_s, "given with --bandwidth"
    report = backend.report()
    return form.Measurement(
        format=form.FORMAT,
        version=form.VERSION,
        ferrylm=__version__,
        tvm=installed_version("apache-tvm") or "",
        started=started,
        model=manifest.name,
        artifact_id=manifest.artifact_id,
        target=plan.library.target,
        arithmetic=plan.library.arithmetic,
        kv_dtype=plan.library.kv_dtype,
        bits_per_weight=manifest.quantization.bits_per_weight,
        cpu=host_cpu().model_name,
        device=backend.description,
        threads=plan.threads,
        bandwidth_gb_s=None if gb_s is None else round(gb_s, 3),
        bandwidth_method=method,
        device_bytes=None if report is None else report.total_bytes,
        context_tokens=plan.context,
        sequences=plan.max_sequences,
        memory_bytes=_memory(observed),
        steps=tuple(form.measured_step(times) for times in _steps(request, observed)),
    )


def _steps(request: KernelRequest, observed: ObservedEngine) -> list[Any]:
    plan, timer, times = observed.plan, observed.timer, []
    for depth in request.depths:
        if request.decode:
            times.append(timer.decode(request.batch, depth, request.repetitions))
        tokens = min(request.prompt_tokens, plan.library.prefill_chunk, plan.context - depth)
        if tokens > 0:
            times.append(timer.prefill(tokens, depth, request.repetitions))
    return times


def _memory(observed: ObservedEngine) -> dict[str, int]:
    """Return what each part takes on the device: weights by their role, pages, activations."""
    from ferrylm.runtime.device_tensors import array_bytes

    parts: dict[str, int] = {}
    for parameter in observed.plan.library.parameters:
        role = _LAYER.sub("", parameter.name).partition(".")[0]
        size_bytes = array_bytes(parameter.shape, parameter.dtype)
        parts[f"weights: {role}"] = parts.get(f"weights: {role}", 0) + size_bytes
    memory = observed.plan.memory_bytes
    return {**parts, "keys and values": memory["kv"], "workspace": memory["workspace"]}


def write_kernels(found: Measurement, form: str, output: Output) -> None:
    """Write the table in the chosen form: md, json, jsonl or csv."""
    from ferrylm.report.measurement import to_json

    if form == "json":
        output.json(to_json(found))
    elif form == "md":
        output.data("\n\n".join([*(_table(step, found) for step in found.steps), _tail(found)]))
    else:
        rows = [_row(step, total, found) for step in found.steps for total in step.totals]
        if form == "csv":
            output.data(_csv(rows))
        else:
            for row in rows:
                output.json_line(row)


def _table(step: MeasuredStep, found: Measurement) -> str:
    per_token = len(step.launch_us) / step.tokens
    lines = [
        f"{step.name}: {len(step.launch_us)} launches ({per_token:.4g} per token), "
        f"{step.kernel_us / 1e3:.3f} ms in kernels, {step.step_us / 1e3:.3f} ms the whole step",
        "",
        *_HEAD,
    ]
    for total in step.totals:
        row = _row(step, total, found)
        share = row["bandwidth_percent"]
        cells = [
            f"`{total.kernel.name}`",
            str(total.launches),
            f"{total.median_us:.1f}",
            f"{row['percent_of_kernels']:.1f}",
            f"{total.kernel.bytes_moved / 1e6:.3f}",
            f"{total.gb_s:.1f}",
            "" if share is None else f"{share:.1f}",
            f"{total.gop_s:.1f}" if total.kernel.operations else "",
            total.kernel.arithmetic,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _row(step: MeasuredStep, total: KernelTotal, found: Measurement) -> dict[str, Any]:
    gb_s = found.bandwidth_gb_s
    return {
        "step": step.name,
        "kernel": total.kernel.name,
        "kind": total.kernel.kind,
        "launches": total.launches,
        "median_us": total.median_us,
        "percent_of_kernels": 100 * total.total_us / max(step.kernel_us, 1e-9),
        "bytes": total.kernel.bytes_moved,
        "gb_s": total.gb_s,
        "bandwidth_percent": None if gb_s is None else 100 * total.gb_s / gb_s,
        "operations": total.kernel.operations,
        "gop_s": total.gop_s,
        "arithmetic": total.kernel.arithmetic,
        "device": found.device,
        "target": found.target,
        "artifact_id": found.artifact_id,
    }


def _tail(found: Measurement) -> str:
    gb_s = found.bandwidth_gb_s
    bandwidth = "not measured" if gb_s is None else f"{gb_s:.1f} GB/s ({found.bandwidth_method})"
    threads = f", {found.threads} threads" if found.target.startswith("cpu") else ""
    return "\n".join(
        [
            f"build: ferry {found.ferrylm}, tvm {found.tvm}, artifact {found.artifact_id[:12]}",
            f"target: {found.target}, arithmetic {found.arithmetic}, kv {found.kv_dtype}, "
            f"{found.bits_per_weight:.2f} bits per weight",
            f"device: {found.device}{threads}",
            f"bandwidth: {bandwidth}",
            "µs and rates are of the median launch; MB is what one launch must move at least; "
            "an operation is a multiplication or an addition of the model",
        ]
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
