"""A whole compile, from source to published artifact."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from ferrylm.compile import library
from ferrylm.compile.artifact_writer import ArtifactWriter
from ferrylm.compile.golden import WeightTap, build_golden
from ferrylm.compile.golden_functions import CheckFunction
from ferrylm.compile.library import ModelPlan
from ferrylm.compile.library_builds import build_libraries
from ferrylm.compile.options import CompileOptions, CompileResult
from ferrylm.compile.quantize import GROUP_SIZE
from ferrylm.compile.sources import Source, TokenizerFiles, open_source
from ferrylm.compile.targets import expand_targets, library_job
from ferrylm.compile.weight_plan import plan_weights
from ferrylm.compile.weights import CanonicalWeights, canonical, encoded
from ferrylm.errors import UnsupportedModelError, UsageError
from ferrylm.relax_models import FAMILIES
from ferrylm.relax_models.config import model_config
from ferrylm.relax_models.decoder import canonical_weights
from ferrylm.runtime.manifest import (
    FileEntry,
    Library,
    Manifest,
    ModelConfig,
    Quantization,
    TensorEntry,
    Tokenizer,
    Versions,
    Weights,
    manifest_files,
)
from ferrylm.runtime.progress import Progress, ProgressCallback, ignore_progress
from ferrylm.runtime.tokenizer import Tokenizer as RuntimeTokenizer
from ferrylm.runtime.tokenizer_probe import probe_sha256


class _Stages:
    """How long each stage of a compile took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def compile_model(
    options: CompileOptions, progress: ProgressCallback = ignore_progress
) -> CompileResult:
    """Compile a model and publish it at `options.output`.

    Until the last moment an artifact that was there before stays as it was. Raises FerryError.
    """
    stages = _Stages()
    with stages.measure("source"):
        source = open_source(options.source)
    with source, ArtifactWriter(options.output) as writer:
        _check_source(source, options)
        config = model_config(source.config, options.context_length)
        head = options.head(tied_embedding=config.tied_embedding)
        weights = canonical(canonical_weights(config), source, options.quantization, head)
        encoder = _encoder(source.tokenizer)
        tokenizer = _tokenizer(source.tokenizer, encoder, writer)
        with stages.measure("libraries"):
            libraries = _libraries(config, weights, options, writer, progress)
        with stages.measure("weights"):
            tap = WeightTap(weights.parameter_count, random=options.weights == "random")
            stored = _weights(weights, source, options, writer, progress, tap)
        with stages.measure("golden"):
            progress(Progress("golden", 0, 0, "cases"))
            golden = build_golden(config, libraries, tap, encoder)
            golden_file = writer.add_bytes("golden", ".json", golden)
        manifest = _manifest(
            options, source, config, weights, stored, tokenizer, libraries, golden_file
        )
        with stages.measure("publish"):
            published = writer.commit(manifest)
    return CompileResult(
        path=options.output,
        artifact_id=published.artifact_id,
        size_bytes=sum({f.path: f.size_bytes for f in manifest_files(published)}.values()),
        seconds=stages.seconds,
    )


def _check_source(source: Source, options: CompileOptions) -> None:
    family = str(source.config["model_type"])
    if family not in FAMILIES:
        raise UnsupportedModelError(
            f"a model of type {family!r}",
            wanted="one of " + ", ".join(sorted(FAMILIES)),
            fix="choose another model",
        )
    if source.kind == "config" and options.weights == "stored":
        raise UsageError(
            "a bare config.json, which has no weights",
            wanted="a model with weights",
            fix="give --weights random, or the folder of the model",
        )


def _encoder(files: TokenizerFiles | None) -> RuntimeTokenizer | None:
    if files is None:
        return None
    return RuntimeTokenizer(
        files.tokenizer_json,
        bos_token_id=files.bos_token_id,
        eos_token_ids=files.eos_token_ids,
        add_bos=files.add_bos,
    )


def _tokenizer(
    files: TokenizerFiles | None, encoder: RuntimeTokenizer | None, writer: ArtifactWriter
) -> Tokenizer | None:
    if files is None or encoder is None:
        return None
    template = None
    if files.chat_template is not None:
        template = writer.add_bytes("chat-template", ".jinja", files.chat_template.encode())
    return Tokenizer(
        file=writer.add_bytes("tokenizer", ".json", files.tokenizer_json.encode()),
        chat_template=template,
        bos_token_id=files.bos_token_id,
        eos_token_ids=files.eos_token_ids,
        add_bos=files.add_bos,
        special_tokens=dict(files.special_tokens),
        probe_sha256=probe_sha256(encoder),
    )


def _libraries(
    config: ModelConfig,
    weights: CanonicalWeights,
    options: CompileOptions,
    writer: ArtifactWriter,
    progress: ProgressCallback,
) -> list[tuple[Library, tuple[CheckFunction, ...]]]:
    plan = ModelPlan(
        config,
        weights.storage,
        library.product_arithmetic(weights.storage, options.arithmetic),
        kv_dtype="float32" if options.quantization == "q0f32" else "float16",
        decode_batches=library.DECODE_BATCHES,
        rounded=options.arithmetic != "f32",
    )
    jobs = [
        library_job(target, plan, options.chips)
        for target in expand_targets(options.targets, options.chips)
    ]
    libraries = []
    for job, built in zip(jobs, build_libraries(jobs, progress), strict=True):
        file = writer.add_bytes(f"library-{job.target}", ".so", built.code)
        libraries.append((built.published(file), built.checks))
    return libraries


def _weights(
    weights: CanonicalWeights,
    source: Source,
    options: CompileOptions,
    writer: ArtifactWriter,
    progress: ProgressCallback,
    tap: WeightTap,
) -> Weights:
    specs = weights.specs()
    if options.weights == "random":
        tensors = tuple(TensorEntry(s.name, s.dtype, s.shape, None) for s in specs)
        return Weights("random", options.seed, (), tensors)
    read = tap.watch(encoded(weights, source, progress))
    files, tensors = writer.add_weights(plan_weights(specs), read)
    return Weights("stored", None, files, tensors)


def _manifest(
    options: CompileOptions,
    source: Source,
    config: ModelConfig,
    weights: CanonicalWeights,
    stored: Weights,
    tokenizer: Tokenizer | None,
    libraries: list[tuple[Library, tuple[CheckFunction, ...]]],
    golden: FileEntry,
) -> Manifest:
    stored_bits = 8 * sum(spec.size_bytes for spec in weights.specs())
    return Manifest(
        name=source.name,
        versions=Versions(
            ferrylm=version("ferrylm"),
            tvm=version("apache-tvm"),
            tvm_ffi=version("apache-tvm-ffi"),
        ),
        model=config,
        quantization=Quantization(
            body=options.quantization,
            head=options.head(tied_embedding=config.tied_embedding),
            group_size=GROUP_SIZE,
            bits_per_weight=round(stored_bits / weights.parameter_count, 4),
        ),
        weights=stored,
        tokenizer=tokenizer,
        generation=source.generation,
        libraries=tuple(library for library, _ in libraries),
        golden=golden,
        artifact_id="",
    )
