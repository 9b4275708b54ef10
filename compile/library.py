"""One library: the model's functions and kernels as machine code of one target.

What is the same for every kind of device is here; cpu_library.py and vulkan_library.py have the
rest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tvm import relax

from ferrylm.compile.golden_functions import CheckFunction, add_check_functions
from ferrylm.compile.golden_recording import RecordingKernels
from ferrylm.compile.link import link_shared
from ferrylm.compile.relax_pipeline import lower_relax
from ferrylm.relax_models.decoder import Decoder
from ferrylm.relax_models.step import export_step_functions
from ferrylm.runtime.manifest import FileEntry, Library, ModelConfig, Parameter, Requirements
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.kernels import MatrixStorage

DECODE_BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True)
class ModelPlan:
    """The model as every target compiles it; `storage` has each matrix's canonical form.

    `arithmetic` is the wanted one for grouped weights; a target may be able to do less. Where
    activations are `rounded` they may be rounded to float16 for float16 weights.
    """

    config: ModelConfig
    storage: Mapping[str, MatrixStorage]
    arithmetic: str
    kv_dtype: str
    decode_batches: tuple[int, ...]
    rounded: bool = False

    @property
    def attention_shape(self) -> AttentionShape:
        """Return what attention kernels must know of the model."""
        config = self.config
        return AttentionShape(
            config.num_heads, config.num_kv_heads, config.head_dim, self.kv_dtype,
            head_norm_eps=config.norm_eps if config.head_norm else None, ropes=len(config.ropes),
        )  # fmt: skip


def product_arithmetic(storage: Mapping[str, MatrixStorage], wanted: str) -> str:
    """Return how products are computed: f32 where no layer has a matrix quantized in groups."""
    layers = [matrix for name, matrix in storage.items() if name.startswith("layers.")]
    return wanted if any(matrix.storage in ("q4", "q8") for matrix in layers) else "f32"


class LibraryJob(Protocol):
    """One library to be built, in this process or in another: it can be pickled."""

    @property
    def target(self) -> str:
        """Return the library's name."""

    def run(self) -> BuiltLibrary:
        """Build it. Raises CompileError."""


@dataclass(frozen=True)
class BuiltLibrary:
    """The bytes of a shared library, and its manifest entry without the file."""

    code: bytes
    entry: Library  # `file` is a placeholder
    checks: tuple[CheckFunction, ...]

    def published(self, file: FileEntry) -> Library:
        """Return the manifest entry."""
        return replace(self.entry, file=file)


@dataclass(frozen=True)
class TargetTraits:
    """What a library says of its target, whatever the model."""

    kind: str
    tier: str
    preference: int
    arithmetic: str
    requires: Requirements
    kernels: int = 0
    device_code_bytes: int = 0


@dataclass(frozen=True)
class TracedModel:
    """The model's functions with the kernels of one target, before they are lowered."""

    module: Any
    kernels: RecordingKernels
    parameters: tuple[Parameter, ...]
    checks: tuple[CheckFunction, ...]
    plan: ModelPlan

    def add_function(self, function: Any) -> None:
        """Add a kernel that no step calls, under its global symbol."""
        self.module[function.attrs["global_symbol"]] = function

    def lower(self, target: Any, tir_pipeline: str) -> Any:
        """Return the executable, compiled for a TVM target."""
        tiles = self.kernels.prefill_chunk // self.kernels.row_tile
        return relax.build(
            self.module,
            target=target,
            relax_pipeline=lower_relax({"tiles": tiles}),
            tir_pipeline=tir_pipeline,
        )

    def library(self, code: bytes, traits: TargetTraits) -> BuiltLibrary:
        """Return the library that these bytes are."""
        entry = Library(
            target=f"{traits.kind}-{traits.tier}",
            kind=traits.kind,
            tier=traits.tier,
            preference=traits.preference,
            arithmetic=traits.arithmetic,
            file=FileEntry("", 0, ""),
            requires=traits.requires,
            kernels=traits.kernels,
            device_code_bytes=traits.device_code_bytes,
            parameters=self.parameters,
            decode_batches=self.plan.decode_batches,
            prefill_chunk=self.kernels.prefill_chunk,
            row_tile=self.kernels.row_tile,
            kv_dtype=self.plan.kv_dtype,
            kv_layout=self.kernels.kv_layout,
            kv_page_multiple=self.kernels.kv_page_multiple,
            workspace_bytes=_workspace_bytes(self.plan.config, self.kernels.prefill_chunk),
            draws=self.kernels.draws,
        )
        return BuiltLibrary(code, entry, self.checks)


def trace_model(plan: ModelPlan, kernels: Any) -> TracedModel:
    """Trace the model's functions and their checks with a target's kernels.

    Raises CompileError for a kernel of a step that no check calls.
    """
    recording = RecordingKernels(kernels)
    model = Decoder(plan.config, recording, plan.storage)
    module, named = export_step_functions(model, recording, plan.config, plan.decode_batches)
    parameters = _parameters(model, named)
    module, checks = add_check_functions(module, recording, plan.config)
    transforms = {p.transform for p in parameters if p.transform is not None}
    for name, func in recording.transform_functions(transforms).items():
        module[name] = func
    return TracedModel(module, recording, parameters, checks, plan)


def _parameters(model: Any, named: list[tuple[str, Any]]) -> tuple[Parameter, ...]:
    """Return the library's parameters in calling order, each with the way to make it."""
    transforms = {}
    for path, matrix in _matrices(model):
        for suffix, transform in matrix.transforms().items():
            transforms[f"{path}.{suffix}"] = transform
    return tuple(
        Parameter(
            name=name,
            dtype=str(parameter.dtype),
            shape=tuple(int(size) for size in parameter.shape),
            sources=(name,),
            transform=transforms.get(name),
        )
        for name, parameter in named
    )


def _matrices(model: Any) -> list[tuple[str, Any]]:
    found = [("embedding", model.embedding)]
    for index, layer in enumerate(model.layers):
        for name in ("qkv", "attention_out", "gate_up", "down"):
            found.append((f"layers.{index}.{name}", getattr(layer, name)))
    if not model.config.tied_embedding:
        found.append(("head", model.head))
    return found


def export_library(executable: Any, machine: str) -> bytes:
    """Return the bytes of the shared library for a machine. Raises CompileError."""

    def link(output: str, objects: list[str], **_options: object) -> None:
        link_shared(Path(output), [Path(name) for name in objects], machine)

    with tempfile.TemporaryDirectory(prefix="ferrylm-") as folder:
        path = Path(folder) / "library.so"
        executable.export_library(str(path), fcompile=link, workspace_dir=folder)
        return path.read_bytes()


def _workspace_bytes(config: ModelConfig, rows: int) -> int:
    """Estimate the memory of activations in a chunk of prefill, the largest step of an answer."""
    widest = max(
        config.hidden_size,
        (config.num_heads + 2 * config.num_kv_heads) * config.head_dim,
        2 * config.intermediate_size,
    )
    return rows * 4 * (4 * config.hidden_size + 3 * widest) + 4 * config.vocab_size
