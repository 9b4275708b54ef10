"""`ferry bench`: how fast an artifact runs on this machine."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ferrylm.cli.bench_plan import BenchTest, parse_numbers, plan_tests
from ferrylm.cli.options import artifact_argument, device_option, target_option
from ferrylm.cli.output import Output, common_options
from ferrylm.errors import MemoryLimitError

if TYPE_CHECKING:
    from ferrylm.cli.bench_report import Result, Subject
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.engine import Engine

FORMATS = ("md", "json", "jsonl", "csv")


@dataclass(frozen=True)
class BenchRequest:
    """What the command line asked for."""

    artifact_path: Path
    tests: tuple[BenchTest, ...]
    threads: tuple[int | None, ...]  # None: as many as the engine takes by itself
    repetitions: int
    device: str
    target: str | None
    seed: int

    @property
    def context_tokens(self) -> int:
        """Return the context that the largest test needs."""
        return max(test.context_tokens for test in self.tests)

    @property
    def sequences(self) -> int:
        """Return how many sequences the largest test decodes at once."""
        return max(test.sequences for test in self.tests)


@click.command("bench")
@artifact_argument
@click.option(
    "-p",
    "--n-prompt",
    default="512",
    show_default=True,
    metavar="LIST",
    help="Prompt lengths to read; 0 for none. Lists: 1,2,4  1-4  16-64+16  128-2048*2.",
)
@click.option(
    "-n",
    "--n-gen",
    default="128",
    show_default=True,
    metavar="LIST",
    help="Numbers of tokens to generate; 0 for none.",
)
@click.option(
    "-d",
    "--n-depth",
    default="0",
    show_default=True,
    metavar="LIST",
    help="Tokens already in the context before each test.",
)
@click.option(
    "-r",
    "--repetitions",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Repetitions of each test, after one to warm up.",
)
@click.option("-t", "--threads", metavar="LIST", help="Thread counts; default: the engine's own.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMATS),
    default="md",
    show_default=True,
    help="Form of the result; --json means json.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the random tokens.")
@click.option(
    "--kernels",
    is_flag=True,
    help="Time every kernel of a decode step and of one chunk of a prompt instead, behind -d "
    "tokens (128 unless given).",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    help="Sequences that generate at once; the rate counts the tokens of all.",
)
@click.option(
    "--bandwidth",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB/S",
    help="With --kernels: the device's bandwidth, instead of measuring it.",
)
@device_option
@target_option
@common_options
@click.pass_context
def bench(
    context: click.Context,
    artifact: Path,
    n_prompt: str,
    n_gen: str,
    n_depth: str,
    repetitions: int,
    threads: str | None,
    form: str,
    seed: int,
    kernels: bool,
    batch: int,
    bandwidth: float | None,
    device: str,
    target: str | None,
) -> None:
    """Measure tokens per second.

    Reads prompts (pp) and generates (tg). Tokens are random; neither the tokenizer nor a sampler
    of the host is measured. The table is llama-bench's, with the median, the memory read per
    second and its share of this machine's measured bandwidth.
    """
    output: Output = context.obj
    prompts = parse_numbers(n_prompt, smallest=0, option="--n-prompt")
    generations = parse_numbers(n_gen, smallest=0, option="--n-gen")
    depths = parse_numbers(n_depth, smallest=0, option="--n-depth")
    counts = parse_numbers(threads, smallest=1, option="--threads") if threads else [None]
    if kernels:
        from ferrylm.cli import bench_kernels

        given = context.get_parameter_source("n_depth") is not ParameterSource.DEFAULT
        asked = bench_kernels.KernelRequest(
            artifact,
            prompt_tokens=max(prompts),
            decode=any(generations),
            depths=tuple(depths) if given else (bench_kernels.DEFAULT_DEPTH,),
            batch=batch,
            threads=counts[0],
            repetitions=repetitions,
            device=device,
            target=target,
            bandwidth_gb_s=bandwidth,
        )
        found = bench_kernels.measure_kernels(asked, output)
        bench_kernels.write_kernels(found, "json" if output.as_json else form, output)
        return
    tests = plan_tests(prompts, generations, depths, batch)
    request = BenchRequest(
        artifact, tuple(tests), tuple(counts), repetitions, device, target, seed
    )  # fmt: skip
    _write(output, "json" if output.as_json else form, run_bench(request, output))


def run_bench(request: BenchRequest, output: Output) -> Iterator[Result]:
    """Yield one result per thread count and test, each as soon as it is known."""
    from ferrylm.cli.bench_measure import measure
    from ferrylm.cli.bench_report import Result
    from ferrylm.cli.model_loading import check_target
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.engine import open_engine

    with Artifact.open(request.artifact_path) as artifact:
        check_target(artifact.manifest, request.target)
        for threads in request.threads:
            with output.progress() as progress:
                engine = open_engine(
                    artifact,
                    device=request.device,
                    target=request.target,
                    threads=threads,
                    context_length=request.context_tokens,
                    max_sequences=request.sequences,
                    progress=progress,
                )
            try:
                subject = _subject(artifact, engine)
                gb_s, method = _bandwidth(engine, output)
                for test in request.tests:
                    started = _now()
                    timing = measure(
                        engine, test, repetitions=request.repetitions, seed=request.seed
                    )
                    yield Result(subject, timing, engine.threads, started, gb_s, method)
            finally:
                engine.close()


def _write(output: Output, form: str, results: Iterator[Result]) -> None:
    from ferrylm.cli import bench_report

    if form == "md":
        shown: list[Result] = []
        for result in results:
            if not shown:
                output.data(bench_report.markdown_head(result))
            output.data(bench_report.markdown_row(result))
            shown.append(result)
        output.data(bench_report.markdown_tail(shown))
    elif form == "jsonl":
        for result in results:
            output.json_line(bench_report.document(result))
    elif form == "csv":
        output.data(bench_report.csv_text(list(results)))
    else:
        output.json([bench_report.document(result) for result in results])


def _subject(artifact: Artifact, engine: Engine) -> Subject:
    from ferrylm import __version__
    from ferrylm.cli import traffic
    from ferrylm.cli.bench_report import Subject
    from ferrylm.cli.quantization_name import quantization_name
    from ferrylm.cli.version import installed_version
    from ferrylm.runtime.cpu_features import host_cpu

    manifest, library = artifact.manifest, engine.library
    return Subject(
        name=manifest.name,
        path=str(artifact.path),
        artifact_id=manifest.artifact_id,
        build=__version__,
        tvm=installed_version("apache-tvm") or "",
        cpu=host_cpu().model_name,
        device="" if library.kind == "cpu" else engine.backend.description,
        backend=library.kind.upper(),
        target=library.target,
        arithmetic=library.arithmetic,
        quantization=quantization_name(manifest.quantization),
        kv_dtype=library.kv_dtype,
        bits_per_weight=manifest.quantization.bits_per_weight,
        size_bytes=traffic.stored_bytes(manifest.weights.tensors),
        parameters=traffic.parameter_count(manifest.weights.tensors),
        prefill_chunk=library.prefill_chunk,
        largest_batch=library.decode_batches[-1],
        weight_bytes_per_token=traffic.weight_bytes_per_token(manifest, library),
        kv_bytes_per_token=traffic.kv_bytes_per_token(manifest.model, library),
        layers=manifest.model.num_layers,
        windows=tuple(v.window_tokens for v in manifest.model.attention if v.window_tokens),
    )


def _bandwidth(engine: Engine, output: Output) -> tuple[float | None, str]:
    """Return what the device's memory does, and on a GPU how that was measured."""
    from ferrylm.runtime.bandwidth import measure_read_bandwidth
    from ferrylm.runtime.device_bandwidth import measure_device_bandwidth

    try:
        if engine.library.kind == "cpu":
            return measure_read_bandwidth(engine.threads).gb_s, ""
        found = measure_device_bandwidth(engine.backend, engine.threads, engine.memory_reader)
        return found.gb_s, found.method
    except MemoryLimitError as error:
        output.note(f"read bandwidth not measured: {error}")
        return None, ""


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
