"""One library: the model's functions and kernels as machine code of one target."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from ferrylm.compile.golden_functions import CheckFunction, RecordingKernels, add_check_functions
from ferrylm.compile.link import link_shared
from ferrylm.compile.relax_pipeline import lower_relax
from ferrylm.compile.tir_pipeline import PIPELINE
from ferrylm.relax_models.llama import Llama
from ferrylm.relax_models.step import export_step_functions
from ferrylm.runtime.manifest import ModelConfig, Parameter
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.kernels import CpuKernels, Matrix, MatrixStorage
from ferrylm.schedules.cpu.profile import CpuProfile

DECODE_BATCHES = (1, 2, 4, 8)
PREFILL_CHUNK = 256


@dataclass(frozen=True)
class BuiltLibrary:
    """The bytes of a shared library and what its user must hand to it."""

    code: bytes
    parameters: tuple[Parameter, ...]
    decode_batches: tuple[int, ...]
    prefill_chunk: int
    row_tile: int
    kv_page_multiple: int
    workspace_bytes: int
    checks: tuple[CheckFunction, ...]


def build_cpu_library(
    config: ModelConfig,
    storage: Mapping[str, MatrixStorage],
    profile: CpuProfile,
    arithmetic: str,
    kv_dtype: str,
) -> BuiltLibrary:
    """Compile the model for one processor profile; `storage` has each matrix's canonical form."""
    shape = AttentionShape(config.num_heads, config.num_kv_heads, config.head_dim, kv_dtype)
    kernels = RecordingKernels(CpuKernels(profile, arithmetic, shape))
    model = Llama(config, kernels, storage)
    module, named = export_step_functions(model, kernels, config, DECODE_BATCHES)
    parameters = _parameters(model, named)
    module, checks = add_check_functions(module, kernels, config)
    transforms = {p.transform for p in parameters if p.transform is not None}
    for name, func in kernels.transform_functions(transforms).items():
        module[name] = func
    target = tvm.target.Target(profile.tvm_target())
    tiles = PREFILL_CHUNK // kernels.row_tile
    lowered = lower_relax({"tiles": tiles})
    executable = relax.build(module, target=target, relax_pipeline=lowered, tir_pipeline=PIPELINE)
    code = _export(executable, profile.machine)
    return BuiltLibrary(
        code=code,
        parameters=parameters,
        decode_batches=DECODE_BATCHES,
        prefill_chunk=PREFILL_CHUNK,
        row_tile=kernels.row_tile,
        kv_page_multiple=kernels.kv_page_multiple,
        workspace_bytes=_workspace_bytes(config),
        checks=checks,
    )


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


def _matrices(model: Any) -> list[tuple[str, Matrix]]:
    found = [("embedding", model.embedding)]
    for index, layer in enumerate(model.layers):
        for name in ("qkv", "attention_out", "gate_up", "down"):
            found.append((f"layers.{index}.{name}", getattr(layer, name)))
    if not model.config.tied_embedding:
        found.append(("head", model.head))
    return found


def _export(executable: Any, machine: str) -> bytes:
    def link(output: str, objects: list[str], **_options: object) -> None:
        link_shared(Path(output), [Path(name) for name in objects], machine)

    with tempfile.TemporaryDirectory(prefix="ferrylm-") as folder:
        path = Path(folder) / "library.so"
        executable.export_library(str(path), fcompile=link, workspace_dir=folder)
        return path.read_bytes()


def _workspace_bytes(config: ModelConfig) -> int:
    """Estimate the memory of activations in a chunk of prefill, the largest step of an answer."""
    widest = max(
        config.hidden_size,
        (config.num_heads + 2 * config.num_kv_heads) * config.head_dim,
        2 * config.intermediate_size,
    )
    return PREFILL_CHUNK * 4 * (4 * config.hidden_size + 3 * widest) + 4 * config.vocab_size
