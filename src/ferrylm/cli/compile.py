"""`ferry compile`: a model's files in, an artifact out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ferrylm.cli.hints import fix_for
from ferrylm.cli.output import Output, common_options
from ferrylm.cli.units import binary_size, duration
from ferrylm.errors import UsageError

if TYPE_CHECKING:
    from ferrylm.compile.targets import Chips

QUANTIZATIONS = ("q4f16", "q8f16", "q0f16", "q0f32")


@click.command("compile")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the artifact.",
)
@click.option(
    "--quant",
    type=click.Choice(QUANTIZATIONS),
    default="q4f16",
    show_default=True,
    help="How the weights are stored.",
)
@click.option(
    "--head",
    type=click.Choice(QUANTIZATIONS),
    help="How embedding and output head are stored; default: as --quant, but q8f16 where q4f16 "
    "would store one matrix for both.",
)
@click.option(
    "--target",
    "targets",
    default="cpu",
    show_default=True,
    metavar="LIST",
    help="Targets, separated by commas: cpu, vulkan, cuda and rocm stand for all devices of their "
    "kind, all for everything.",
)
@click.option(
    "--arithmetic",
    type=click.Choice(["int8", "int16", "f32"]),
    default="int16",
    show_default=True,
    help="How activations are rounded before they meet quantized weights; f32: not at all. "
    "A GPU's matrix units multiply float16 instead of bytes.",
)
@click.option(
    "--cuda-arch",
    "cuda_architectures",
    default="75,80,86,89,90a,100,120,compute_75,compute_90",
    show_default=True,
    metavar="LIST",
    help="NVIDIA chips to compile for; compute_N is code that a driver finishes for later ones.",
)
@click.option(
    "--rocm-arch",
    "rocm_architectures",
    metavar="LIST",
    help="AMD chips to compile for: gfx1100,gfx10-3-generic; default: all of RDNA, GCN 5 and CDNA.",
)
@click.option("--context", type=click.IntRange(1), help="Tokens of context; default: the model's.")
@click.option(
    "--weights",
    type=click.Choice(["stored", "random"]),
    default="stored",
    show_default=True,
    help="random: none are read, they are made at load (to measure).",
)
@click.option("--seed", default=0, show_default=True, help="Seed of random weights.")
@common_options
@click.pass_obj
def compile_verb(
    output: Output,
    source: Path,
    destination: Path,
    quant: str,
    head: str | None,
    targets: str,
    arithmetic: str,
    cuda_architectures: str,
    rocm_architectures: str | None,
    context: int | None,
    weights: str,
    seed: int,
) -> None:
    """Compile a model to an artifact.

    SOURCE is a GGUF file, a Hugging Face or MLC folder, or a bare config.json (with
    --weights random).
    """
    names = _target_names(targets)
    # Several threads gain nothing on matrix-vector products, and on a busy machine they wait for
    # each other in loops. It counts as long as numpy is not loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ferrylm.compile import CompileOptions, compile_model

    _check_targets(names)
    options = CompileOptions(
        source=source,
        output=destination,
        quantization=quant,
        head_quantization=head,
        targets=names,
        arithmetic=arithmetic,
        context_length=context,
        weights=weights,
        seed=seed,
        chips=_chips(cuda_architectures, rocm_architectures),
    )
    with output.progress() as progress:
        result = compile_model(options, progress)
    if output.as_json:
        output.json(
            {
                "path": str(result.path),
                "artifact_id": result.artifact_id,
                "size_bytes": result.size_bytes,
                "seconds": dict(result.seconds),
            }
        )
        return
    output.data(str(result.path))
    stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in result.seconds.items())
    total = duration(sum(result.seconds.values()))
    output.note(f"{binary_size(result.size_bytes)} in {total} ({stages})")


def _chips(cuda: str, rocm: str | None) -> Chips:
    from ferrylm.compile.targets import Chips

    return Chips(_names(cuda)) if rocm is None else Chips(_names(cuda), _names(rocm))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _target_names(text: str) -> tuple[str, ...]:
    names = _names(text)
    if not names:
        raise UsageError(
            f"no target in {text!a}", wanted="names with commas between", fix="give --target cpu"
        )
    return names


def _check_targets(names: tuple[str, ...]) -> None:
    """Refuse an unknown target before the source is opened, with the name it resembles."""
    from ferrylm.compile.targets import known_targets

    known = known_targets()
    for name in names:
        if name not in known:
            raise UsageError(
                f"the unknown target {name!a}",
                wanted="one of " + ", ".join(known),
                fix=fix_for(name, known),
            )
