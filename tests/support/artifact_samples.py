"""A small but complete artifact for tests; it holds no code that could run."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ferrylm.compile.artifact_writer import ArtifactWriter
from ferrylm.compile.weight_plan import TensorSpec, WeightPlan, plan_weights
from ferrylm.runtime.manifest import (
    FileEntry,
    GenerationDefaults,
    Library,
    Manifest,
    ModelConfig,
    Parameter,
    Quantization,
    Requirements,
    RopeConfig,
    TensorEntry,
    Tokenizer,
    Versions,
    Weights,
)
from ferrylm.runtime.manifest_json import to_json, with_artifact_id
from ferrylm.runtime.strict_json import dumps_canonical

SPECS = (
    TensorSpec("embedding.codes", "uint8", (64, 32)),
    TensorSpec("embedding.scale", "float16", (64, 2)),
    TensorSpec("layers.0.qkv.codes", "int8", (48, 64)),
    TensorSpec("layers.0.qkv.scale", "float16", (48, 2)),
    TensorSpec("final_norm", "float32", (64,)),
)
SHARD_BYTES = 4096  # makes two shards of SPECS


def tensor_values(seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of SPECS in order."""
    generator = np.random.default_rng(seed)
    for spec in SPECS:
        numbers = generator.integers(0, 100, spec.shape)
        yield spec.name, numbers.astype(spec.dtype)


def weight_plan() -> WeightPlan:
    return plan_weights(SPECS, SHARD_BYTES)


def library(file: FileEntry, target: str = "cpu-x86-64-v3", **changes: Any) -> Library:
    kind, _, tier = target.partition("-")
    fields: dict[str, Any] = {
        "target": target,
        "kind": kind,
        "tier": tier,
        "preference": 10,
        "arithmetic": "f32",
        "file": file,
        "requires": Requirements("x86_64", ("avx2", "fma")),
        "kernels": 0,
        "device_code_bytes": 0,
        "parameters": (
            Parameter("final_norm", "float32", (64,), ("final_norm",), None),
            Parameter(
                "layers.0.qkv",
                "uint8",
                (48, 68),
                ("layers.0.qkv.codes", "layers.0.qkv.scale"),
                "pack_qkv",
            ),
        ),
        "decode_batches": (1, 4),
        "prefill_chunk": 128,
        "row_tile": 4,
        "kv_dtype": "float16",
        "kv_layout": "head_dim_major",
        "kv_page_multiple": 16,
        "workspace_bytes": 1 << 20,
    }
    return Library(**{**fields, **changes})


def manifest_of(
    weight_files: tuple[FileEntry, ...],
    tensors: tuple[TensorEntry, ...],
    tokenizer: FileEntry,
    template: FileEntry,
    golden: FileEntry,
    libraries: tuple[Library, ...],
) -> Manifest:
    return Manifest(
        name="Sample 0.1M",
        versions=Versions("0.1.0", "0.27.0.post1", "0.1.15"),
        model=ModelConfig(
            family="llama",
            hidden_size=64,
            intermediate_size=96,
            num_layers=1,
            num_heads=4,
            num_kv_heads=2,
            head_dim=16,
            vocab_size=64,
            context_length=256,
            norm_eps=1e-05,
            tied_embedding=True,
            rope=RopeConfig("llama3", 10000.0, {"factor": 8.0, "low_freq_factor": 0.1}),
        ),
        quantization=Quantization("q8f16", "q4f16", 32, 6.125),
        weights=Weights("stored", None, weight_files, tensors),
        tokenizer=Tokenizer(
            file=tokenizer,
            chat_template=template,
            bos_token_id=1,
            eos_token_ids=(2, 3),
            add_bos=True,
            special_tokens={"bos_token": "<s>", "eos_token": "</s>"},
            probe_sha256=hashlib.sha256(b"probe").hexdigest(),
        ),
        generation=GenerationDefaults(temperature=0.7, top_k=40),
        libraries=libraries,
        golden=golden,
        artifact_id="",
    )


def write_sample(output: Path, seed: int = 0) -> Manifest:
    """Write the sample artifact; another seed gives other weights and another library."""
    with ArtifactWriter(output) as writer:
        return writer.commit(add_sample_files(writer, seed))


def add_sample_files(writer: ArtifactWriter, seed: int = 0) -> Manifest:
    """Add all files of the sample; the manifest still lacks its id."""
    files, tensors = writer.add_weights(weight_plan(), tensor_values(seed))
    return manifest_of(
        files,
        tensors,
        writer.add_bytes("tokenizer", ".json", b'{"model": "sample"}'),
        writer.add_bytes("chat-template", ".jinja", b"{{ messages }}"),
        writer.add_bytes("golden", ".bin", b"golden"),
        (
            library(writer.add_bytes("cpu-x86-64-v3", ".so", b"not an ELF %d" % seed)),
            library(
                writer.add_bytes("cpu-x86-64-v4", ".so", b"not an ELF either %d" % seed),
                "cpu-x86-64-v4",
                preference=20,
                requires=Requirements("x86_64", ("avx2", "fma", "avx512f", "avx512vl")),
            ),
        ),
    )


def entry_of(stem: str, suffix: str, data: bytes) -> FileEntry:
    digest = hashlib.sha256(data).hexdigest()
    return FileEntry(f"{stem}-{digest[:16]}{suffix}", len(data), digest)


def sample_manifest() -> Manifest:
    """Make the sample's manifest without any file on disk."""
    plan = weight_plan()
    return with_artifact_id(
        manifest_of(
            tuple(
                entry_of(f"weights-{i:05d}", ".safetensors", b"shard %d" % i)
                for i in range(len(plan.shards))
            ),
            plan.tensors,
            entry_of("tokenizer", ".json", b"{}"),
            entry_of("chat-template", ".jinja", b"template"),
            entry_of("golden", ".bin", b"golden"),
            (
                library(entry_of("cpu-x86-64-v3", ".so", b"library")),
                library(entry_of("cpu-x86-64-v4", ".so", b"other"), "cpu-x86-64-v4"),
            ),
        )
    )


def sample_json() -> dict[str, Any]:
    """Make a copy of the sample's manifest as JSON, to be changed freely."""
    return copy.deepcopy(to_json(sample_manifest()))


def with_right_id(value: dict[str, Any]) -> dict[str, Any]:
    """Give a changed manifest the id that fits it, as a careful forger would."""
    rest = {key: item for key, item in value.items() if key != "artifact_id"}
    return {**rest, "artifact_id": hashlib.sha256(dumps_canonical(rest)).hexdigest()}


def change_manifest(output: Path, path: tuple[str | int, ...], new: Any) -> None:
    """Change one field of a written manifest and make its id fit again."""
    file = output / "manifest.json"
    value = json.loads(file.read_bytes())
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = new
    file.write_bytes(dumps_canonical(with_right_id(value)))
