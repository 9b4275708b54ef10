"""What `ferry inspect` says of an artifact, as a document and as tables."""

from __future__ import annotations

import inspect as python_inspect
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from ferrylm.cli.memory_plan import MemoryPlan, plan_memory
from ferrylm.cli.quantization_name import quantization_name
from ferrylm.cli.traffic import parameter_count, stored_bytes
from ferrylm.cli.units import binary_size, short_count
from ferrylm.errors import NoLibraryError
from ferrylm.runtime.engine_plan import context_for
from ferrylm.runtime.machine import this_machine
from ferrylm.runtime.manifest import FileEntry, Library, Manifest, ModelConfig
from ferrylm.runtime.requirements import describe_needs
from ferrylm.runtime.selection import Verdict, choose_library, judge_libraries, wanted_kinds

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Report:
    """An artifact and how it stands to this machine."""

    path: str
    manifest: Manifest
    files: tuple[tuple[str, FileEntry], ...]  # role, file
    memory: tuple[MemoryPlan, ...]  # one for each library
    chosen: str | None  # target of the library that runs here
    device: str | None  # the GPU it runs on; None for the CPU
    problem: str | None  # why none does
    verdicts: tuple[Verdict, ...]

    def document(self) -> dict[str, object]:
        """Return everything, for --json."""
        manifest = self.manifest
        return {
            "path": self.path,
            "name": manifest.name,
            "artifact_id": manifest.artifact_id,
            "versions": asdict(manifest.versions),
            "model": asdict(manifest.model),
            "parameters": parameter_count(manifest.weights.tensors),
            "quantization": asdict(manifest.quantization),
            "weights": {
                "mode": manifest.weights.mode,
                "size_bytes": stored_bytes(manifest.weights.tensors),
            },
            "generation": asdict(manifest.generation),
            "files": [{"role": role, **asdict(entry)} for role, entry in self.files],
            "libraries": [_library_document(library) for library in manifest.libraries],
            "memory": [
                {**asdict(plan), "kv_bytes": plan.kv_bytes, "total_bytes": plan.total_bytes}
                for plan in self.memory
            ],
            "selection": {
                "chosen": self.chosen,
                "device": self.device,
                "problem": self.problem,
                "verdicts": [asdict(verdict) for verdict in self.verdicts],
                "rule": selection_rule(),
            },
        }


def describe(
    manifest: Manifest,
    path: str,
    *,
    context_tokens: int | None,
    device: str,
    target: str | None,
) -> Report:
    """Judge every library for this machine and add up what each would take."""
    context = context_for(manifest, context_tokens)
    machine = this_machine(wanted_kinds(manifest, device, target))
    verdicts = judge_libraries(manifest, machine, device=device, target=target)
    chosen = chosen_device = problem = None
    try:
        selection = choose_library(manifest, machine, device=device, target=target)
        chosen = selection.library.target
        chosen_device = selection.device.name if selection.device is not None else None
    except NoLibraryError as error:
        problem = error.found
    return Report(
        path=path,
        manifest=manifest,
        files=_files(manifest),
        memory=tuple(plan_memory(manifest, lib, context) for lib in manifest.libraries),
        chosen=chosen,
        device=chosen_device,
        problem=problem,
        verdicts=verdicts,
    )


def selection_rule() -> str:
    """Return the written rule of the choice, which stands at the code that follows it."""
    text = python_inspect.getdoc(choose_library) or ""
    steps = text.partition("1. ")[2].partition("\n\n")[0]
    return f"1. {steps}" if steps else "see ferrylm.runtime.selection.choose_library"


def _files(manifest: Manifest) -> tuple[tuple[str, FileEntry], ...]:
    roles = [("weights", entry) for entry in manifest.weights.files]
    if manifest.tokenizer is not None:
        roles.append(("tokenizer", manifest.tokenizer.file))
        if manifest.tokenizer.chat_template is not None:
            roles.append(("chat template", manifest.tokenizer.chat_template))
    roles += [(f"library {library.target}", library.file) for library in manifest.libraries]
    if manifest.golden is not None:
        roles.append(("golden data", manifest.golden))
    return tuple(roles)


def _library_document(library: Library) -> dict[str, object]:
    document = asdict(library)
    document["parameters"] = len(library.parameters)
    return document


def show(report: Report, console: Console, *, explain: bool) -> None:
    """Print the report as text and tables."""
    manifest = report.manifest
    for name, text in _summary(manifest):
        console.print(f"{name:<14}{text}", soft_wrap=True)
    console.print(_files_table(report))
    console.print(_libraries_table(report))
    console.print(_memory_table(report))
    if report.chosen:
        on = f" on {report.device}" if report.device else ""
        console.print(f"this machine runs {report.chosen}{on}", soft_wrap=True)
    else:
        console.print(f"this machine runs none: {report.problem}", soft_wrap=True)
    if explain:
        console.print("\nThe rule:", soft_wrap=True)
        console.print(selection_rule(), soft_wrap=True)
        for verdict in report.verdicts:
            mark = "can run" if verdict.runnable else "cannot run"
            chosen = ", chosen" if verdict.target == report.chosen else ""
            line = f"{verdict.target}: {mark}{chosen}: {verdict.reason}"
            console.print(line, soft_wrap=True)


def _summary(manifest: Manifest) -> list[tuple[str, str]]:
    model, weights, versions = manifest.model, manifest.weights, manifest.versions
    count = short_count(parameter_count(weights.tensors))
    bits = manifest.quantization.bits_per_weight
    return [
        ("model", f"{manifest.name} ({model.family}, {count} parameters)"),
        ("shape", f"{model.num_layers} layers, hidden {model.hidden_size}, {model.num_heads} heads "
                  f"over {model.num_kv_heads} kv heads of {model.head_dim}, "
                  f"vocabulary {model.vocab_size}, context {model.context_length}"),
        *attention_words(model),
        ("quantization", f"{quantization_name(manifest.quantization)}, {bits:.2f} bits per weight, "
                         f"{binary_size(stored_bytes(weights.tensors))}, {weights.mode} weights"),
        ("made by", f"ferry {versions.ferrylm}, tvm {versions.tvm}, tvm-ffi {versions.tvm_ffi}"),
        ("artifact", manifest.artifact_id),
    ]  # fmt: skip


def attention_words(model: ModelConfig) -> list[tuple[str, str]]:
    """Say which layers attend in another way than plainly; nothing where all are plain."""
    if not model.attention:
        return []
    layers: dict[str, int] = {}
    for variant in model.attention:
        words = [
            f"window of {variant.window_tokens} tokens" if variant.window_tokens else "",
            f"scores capped at {variant.soft_cap:g}" if variant.soft_cap else "",
            f"scores times {variant.score_scale:g}" if variant.score_scale else "",
            *(name for name in ("alibi", "sinks") if getattr(variant, name)),
        ]
        text = ", ".join(word for word in words if word) or "plain"
        layers[text] = layers.get(text, 0) + 1
    told = [f"{text} in {count} of {model.num_layers} layers" for text, count in layers.items()]
    return [("attention", "; ".join(told))]


def _files_table(report: Report) -> Table:
    table = _table("file", "holds", right=("size",))
    for role, entry in report.files:
        table.add_row(entry.path, role, binary_size(entry.size_bytes))
    return table


def _libraries_table(report: Report) -> Table:
    right = ("kernels", "device code", "preference")
    table = _table("target", "arithmetic", "machine", "needs", right=right)
    for library in report.manifest.libraries:
        on_gpu = library.kind != "cpu"
        table.add_row(
            library.target,
            library.arithmetic,
            library.requires.machine,
            describe_needs(library),
            str(library.kernels) if on_gpu else "-",
            binary_size(library.device_code_bytes) if on_gpu else "-",
            str(library.preference),
        )
    return table


def _memory_table(report: Report) -> Table:
    right = ("weights", "kv per token", "context", "kv", "workspace", "total")
    table = _table("memory of", right=right)
    for plan in report.memory:
        table.add_row(
            plan.target,
            binary_size(plan.weights_bytes),
            binary_size(plan.kv_bytes_per_token),
            str(plan.context_tokens),
            binary_size(plan.kv_bytes),
            binary_size(plan.workspace_bytes),
            binary_size(plan.total_bytes),
        )
    return table


def _table(*left: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
