"""Measure how far an artifact's logits lie from the float64 reference and from its source model.

usage: python scripts/measure_loss.py ARTIFACT [--source MODEL] [--texts FILE] [--json]

Two errors are kept apart. The implementation error compares the engine with the reference on the
artifact's own weights, and its gate decides the exit status. The loss compares with the weights
of the source; its gates are meant for models of a billion parameters and more, and only inform.
docs/correctness.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

# Set before numpy loads: waiting threads of numpy and of the engine would get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferrylm.compile.sources import open_source
from ferrylm.errors import FerryError, UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine
from ferrylm.runtime.manifest import Library
from ferrylm.runtime.tokenizer import load_tokenizer
from scripts.goldens_files import GOLDEN_FOLDER, read_texts
from tests.loss_gates import LOSS_GATES
from tests.model_weights import Weights, artifact_weights, source_weights
from tests.numeric_gates import (
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
from tests.reference import llama_logits

# What is compared: key, (actual, reference), what it tells.
COMPARISONS = {
    "implementation": ("engine", "stored", "engine against the reference, same weights"),
    "int8 reference": ("int8", "stored", "what rounding activations to int8 costs by itself"),
    "quantization": ("stored", "source", "stored against source weights, both in float64"),
    "total": ("engine", "source", "engine against the reference on source weights"),
}
Logits = Callable[[np.ndarray], np.ndarray]


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
            if key == "implementation" and "int8 reference" in tally.comparisons:
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
        if manifest.weights.mode != "stored":
            raise UsageError(
                f"{manifest.name} has random weights",
                wanted="an artifact with stored weights",
                fix="compile a model that has weights",
            )
        engine = open_engine(artifact, device=arguments.device, target=arguments.target)
        opened.callback(engine.close)
        gate = GATES[arguments.gate] if arguments.gate else _gate_of(engine.library)
        models: dict[str, Logits] = {"engine": engine.score}
        stored = artifact_weights(artifact)
        models["stored"] = lambda ids: llama_logits(manifest.model, stored, ids)
        if engine.library.arithmetic == "int8":
            models["int8"] = lambda ids: llama_logits(
                manifest.model, stored, ids, int8_activations=True
            )
        if arguments.source is not None:
            weights = _read_source(arguments.source, manifest.model)
            models["source"] = lambda ids: llama_logits(manifest.model, weights, ids)
        tokenizer = load_tokenizer(artifact)
        tally = Tally()
        for text in read_texts(arguments.texts):
            ids = np.array(tokenizer.encode(text), np.int32)[: manifest.model.context_length]
            tally.add({name: model(ids) for name, model in models.items()}, ids)
        rows = list(rows_of(tally, gate, manifest.quantization.body))
        return {
            "model": manifest.name,
            "artifact_id": manifest.artifact_id,
            "target": engine.library.target,
            "arithmetic": engine.library.arithmetic,
            "quantization": asdict(manifest.quantization),
            "texts": len(tally.losses["engine"]),
            "perplexity": {name: tally.perplexity(name) for name in models},
            "rows": [asdict(row) for row in rows],
        }


def _gate_of(library: Library) -> Gate:
    return gate_of(library.arithmetic, library.kv_dtype)


def _read_source(path: Path, config: Any) -> Weights:
    with open_source(path) as source:
        return source_weights(source.tensors, config)


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
    parser.add_argument("--gate", choices=sorted(GATES), help="default: by the arithmetic")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        report = measure(arguments)
    except FerryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        print_report(report)
    broken = any(
        row["violations"] for row in report["rows"] if row["comparison"] == "implementation"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
