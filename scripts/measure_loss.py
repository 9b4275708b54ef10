"""Measure how far an artifact's logits lie from the float64 reference and from its source model.

usage: python scripts/measure_loss.py ARTIFACT [--source MODEL] [--texts FILE] [--json]
           [--device DEVICE] [--decode N] [--tokens N] [--half] [--store FILE | --stored FILE]

Two errors are kept apart. The implementation error compares the engine with the reference on the
artifact's own weights, and its gate decides the exit status: a text read as a prompt, and with
--decode token by token, N texts at a time. The loss compares with the weights of the source; its
gates are meant for models of a billion parameters and more, and only inform. --store writes the
reference's logits and runs no engine; --stored takes them from there, on a machine with a GPU and
without the compiler. docs/correctness.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

# Set before numpy loads: waiting threads of numpy and of the engine would get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferrylm.errors import FerryError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine
from ferrylm.runtime.manifest import Library
from scripts.goldens_files import GOLDEN_FOLDER
from scripts.loss_models import Logits, decode_texts, reference_model, source_model, token_ids
from scripts.stored_logits import StoredTexts, read_stored, store
from tests.loss_gates import LOSS_GATES
from tests.numeric_gates import (
    FP16_PRODUCTS,
    GATES,
    Comparison,
    Gate,
    Measurement,
    beyond_expected,
    compare,
    gate_of,
    join,
    token_losses,
)

# What is compared: key, (actual, reference), what it tells.
COMPARISONS = {
    "implementation": ("engine", "stored", "engine against the reference, same weights"),
    "decode": ("decode", "stored", "the same, token by token"),
    "int8 reference": ("int8", "stored", "what rounding activations to int8 costs by itself"),
    "f16 reference": ("f16", "stored", "what rounding inputs and weights to float16 costs"),
    "quantization": ("stored", "source", "stored against source weights, both in float64"),
    "total": ("engine", "source", "engine against the reference on source weights"),
}
IMPLEMENTATION = ("implementation", "decode")


@dataclass
class Tally:
    """Comparisons and token losses of the texts so far."""

    comparisons: dict[str, list[Comparison]] = field(default_factory=dict)
    losses: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, logits: dict[str, np.ndarray], token_ids: np.ndarray) -> None:
        """Count one text, given the logits of each model."""
        for name, values in logits.items():
            self.losses.setdefault(name, []).append(token_losses(values, token_ids))
        for key, (actual, reference, _) in COMPARISONS.items():
            if actual in logits and reference in logits:
                found = compare(logits[actual], logits[reference])
                self.comparisons.setdefault(key, []).append(found)

    def perplexity(self, name: str) -> float:
        """Return exp of the mean loss over all tokens of all texts."""
        return float(np.exp(np.mean(np.concatenate(self.losses[name]))))


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    comparison: str
    tells: str
    perplexity_ratio: float
    measured: Measurement
    gate: str
    violations: list[str]


def rows_of(tally: Tally, gate: Gate, scheme: str) -> Iterator[Row]:
    """Yield a row per comparison that was made."""
    for key, parts in tally.comparisons.items():
        actual, reference, tells = COMPARISONS[key]
        joined = join(parts)
        ratio = tally.perplexity(actual) / tally.perplexity(reference)
        if reference == "source":
            loss_gate = LOSS_GATES[scheme]
            share, _ = joined.agreement(0.0)
            broken = loss_gate.violations(ratio, float(np.mean(joined.divergences)), share)
            yield Row(key, tells, ratio, _with_all_tops(joined, gate), loss_gate.name, broken)
        else:
            measured = gate.summarize(joined)
            broken = gate.violations(measured)
            if key in IMPLEMENTATION and "int8 reference" in tally.comparisons:
                expected = gate.summarize(join(tally.comparisons["int8 reference"]))
                broken += [line for line in [beyond_expected(measured, expected)] if line]
            yield Row(key, tells, ratio, measured, gate.name, broken)


def _with_all_tops(comparison: Comparison, gate: Gate) -> Measurement:
    # A loss counts every position, as llama.cpp's "same top p" does; near-ties are part of it.
    share, counted = comparison.agreement(0.0)
    return replace(gate.summarize(comparison), top1=share, top1_positions=counted)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run every model over every text and return the report."""
    with ExitStack() as opened:
        artifact = opened.enter_context(Artifact.open(arguments.artifact))
        manifest = artifact.manifest
        texts, models = _references(arguments, artifact)
        most = max(len(ids) for ids in texts.ids)
        engine = open_engine(
            artifact,
            device=arguments.device,
            target=arguments.target,
            context_length=most,
            max_sequences=max(1, arguments.decode),
        )
        opened.callback(engine.close)
        gate = GATES[arguments.gate] if arguments.gate else _gate_of(engine.library)
        models["engine"] = engine.score
        if engine.library.arithmetic == "int8" and "stored" in models:
            models["int8"] = reference_model(artifact, int8_activations=True)
        decoded = decode_texts(engine, texts.ids, arguments.decode) if arguments.decode else []
        tally = Tally()
        for index, ids in enumerate(texts.ids):
            logits = {name: model(ids) for name, model in models.items()}
            if texts.logits:
                logits["stored"] = texts.logits[index]
            if decoded:
                logits["decode"] = decoded[index]
            tally.add(logits, ids)
        return {
            "model": manifest.name,
            "artifact_id": manifest.artifact_id,
            "device": engine.backend.description,
            "target": engine.library.target,
            "arithmetic": engine.library.arithmetic,
            "quantization": asdict(manifest.quantization),
            "texts": len(texts.ids),
            "decode_batch": arguments.decode,
            "perplexity": {name: tally.perplexity(name) for name in tally.losses},
            "rows": [asdict(row) for row in rows_of(tally, gate, manifest.quantization.body)],
        }


def _references(
    arguments: argparse.Namespace, artifact: Artifact
) -> tuple[StoredTexts, dict[str, Logits]]:
    """Return the texts, perhaps with logits, and the models to compute what is missing."""
    if arguments.stored is not None:
        return read_stored(arguments.stored, artifact.manifest), {}
    models = {"stored": reference_model(artifact)}
    if arguments.half:
        models["f16"] = reference_model(artifact, half_products=True)
    if arguments.source is not None:
        models["source"] = source_model(arguments.source, artifact)
    return StoredTexts(token_ids(artifact, arguments.texts, arguments.tokens), []), models


def _gate_of(library: Library) -> Gate:
    if library.kind == "cuda" or library.tier.endswith("-matrix"):
        return FP16_PRODUCTS  # of several rows; one sequence is decoded as the arithmetic says
    return gate_of(library.arithmetic, library.kv_dtype)


def store_references(arguments: argparse.Namespace) -> None:
    """Write tokens and reference logits of every text."""
    with Artifact.open(arguments.artifact) as artifact:
        ids, reference = (
            token_ids(artifact, arguments.texts, arguments.tokens),
            reference_model(artifact),
        )
        logits = [reference(one).astype(np.float32) for one in ids]
        store(arguments.store, artifact.manifest, StoredTexts(ids, logits))


def print_report(report: dict[str, Any]) -> None:
    """Print the report as a table for people."""
    perplexities = ", ".join(f"{name} {value:.4f}" for name, value in report["perplexity"].items())
    print(f"{report['model']}, {report['target']} ({report['arithmetic']})")
    print(f"{report['texts']} texts; perplexity: {perplexities}\n")
    print(
        f"{'comparison':<16}{'positions':>10}{'max err':>10}{'mean KLD':>10}{'99.9 %':>10}", end=""
    )
    print(f"{'top-1':>9}{'ppl ratio':>11}  gate")
    for row in report["rows"]:
        found = row["measured"]
        print(
            f"{row['comparison']:<16}{found['positions']:>10}{found['logits_error']:>10.2e}"
            f"{found['mean_kld']:>10.2e}{found['kld_999']:>10.2e}{found['top1']:>9.4f}"
            f"{row['perplexity_ratio']:>11.5f}  {row['gate']} "
            + ("kept" if not row["violations"] else "BROKEN")
        )
    for row in report["rows"]:
        for line in row["violations"]:
            print(f"\n{row['comparison']}: {line}", end="")
    print()


def main() -> int:
    """Measure and report; 1 if the implementation error breaks its gate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path, help="a compiled artifact")
    parser.add_argument("--source", type=Path, help="the model it was compiled from")
    parser.add_argument("--texts", type=Path, default=GOLDEN_FOLDER / "texts.txt")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--target", help="a library of the artifact; default: what would run")
    parser.add_argument("--decode", type=int, default=0, metavar="N", help="texts at a time")
    parser.add_argument("--tokens", type=int, default=0, help="of a text at most")
    parser.add_argument("--half", action="store_true", help="show what float16 products cost")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--store", type=Path, help="write the reference's logits, and no more")
    kept.add_argument("--stored", type=Path, help="take the reference's logits from here")
    parser.add_argument("--gate", choices=sorted(GATES), help="default: by the arithmetic")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        if arguments.store is not None:
            store_references(arguments)
            return 0
        report = measure(arguments)
    except FerryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        print_report(report)
    broken = any(row["violations"] for row in report["rows"] if row["comparison"] in IMPLEMENTATION)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
