from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests import numeric_gates as gates

SCRIPT = Path(__file__).parent.parent / "scripts" / "measure_loss.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_loss", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_loss"] = module
    spec.loader.exec_module(module)
    return module


measure_loss = load()


def logits(tokens: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(tokens, 300)) * 4


def tally_of(engine_noise: float, source_noise: float) -> Any:
    tally = measure_loss.Tally()
    for seed, tokens in enumerate((9, 30, 14)):
        stored = logits(tokens, seed)
        models = {
            "engine": stored + engine_noise * logits(tokens, seed + 100),
            "stored": stored,
            "source": stored + source_noise * logits(tokens, seed + 200),
        }
        tally.add(models, np.arange(tokens, dtype=np.int32))
    return tally


def rows_by_name(tally: Any) -> dict[str, Any]:
    rows = measure_loss.rows_of(tally, gates.FP32, "q4f16")
    return {row.comparison: row for row in rows}


def test_implementation_error_and_loss_are_told_apart() -> None:
    rows = rows_by_name(tally_of(engine_noise=1e-7, source_noise=0.5))
    assert set(rows) == {"implementation", "quantization", "total"}
    assert rows["implementation"].violations == []
    assert rows["implementation"].gate == "fp32"
    assert rows["quantization"].violations
    assert rows["quantization"].gate == "q4f16"
    assert rows["quantization"].measured.mean_kld == pytest.approx(rows["total"].measured.mean_kld)


def test_an_engine_that_is_off_breaks_its_gate_only() -> None:
    rows = rows_by_name(tally_of(engine_noise=1e-3, source_noise=0.0))
    assert rows["implementation"].violations
    assert rows["quantization"].violations == []
    assert rows["quantization"].perplexity_ratio == 1.0


def test_all_positions_of_all_texts_count() -> None:
    rows = rows_by_name(tally_of(engine_noise=1e-7, source_noise=0.1))
    assert rows["implementation"].measured.positions == 53
    assert rows["total"].measured.top1_positions == 53


def test_perplexity_weighs_every_token_the_same() -> None:
    tally = tally_of(engine_noise=0.0, source_noise=0.0)
    losses = [
        gates.token_losses(logits(tokens, seed), np.arange(tokens))
        for seed, tokens in enumerate((9, 30, 14))
    ]
    assert tally.perplexity("stored") == pytest.approx(np.exp(np.mean(np.concatenate(losses))))


def test_an_int8_engine_may_not_be_much_worse_than_int8_has_to_be() -> None:
    tally = tally_of(engine_noise=1e-2, source_noise=0.0)
    reference_part = tally.comparisons["implementation"]
    tally.comparisons["int8 reference"] = reference_part
    tally.losses["int8"] = tally.losses["engine"]
    rows = {row.comparison: row for row in measure_loss.rows_of(tally, gates.INT8, "q4f16")}
    assert rows["implementation"].violations == []
    worse = tally_of(engine_noise=2e-2, source_noise=0.0)
    worse.comparisons["int8 reference"] = reference_part
    worse.losses["int8"] = tally.losses["engine"]
    rows = {row.comparison: row for row in measure_loss.rows_of(worse, gates.INT8, "q4f16")}
    assert "the arithmetic alone costs" in rows["implementation"].violations[0]


def test_the_table_shows_each_row_and_each_broken_limit(capsys: pytest.CaptureFixture[str]) -> None:
    tally = tally_of(engine_noise=1e-3, source_noise=0.0)
    rows = [vars(row) | {"measured": vars(row.measured)} for row in rows_by_name(tally).values()]
    report = {
        "model": "tiny",
        "target": "cpu-x86-64-v3",
        "arithmetic": "f32",
        "texts": 3,
        "perplexity": {"engine": 2.0},
        "rows": rows,
    }
    measure_loss.print_report(report)
    printed = capsys.readouterr().out
    assert "implementation" in printed
    assert "BROKEN" in printed
    assert "implementation: mean KLD is" in printed


class CountingEngine:
    """Says after each token how many its sequence has, and the token."""

    vocab_size = 2

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.open = 0

    def open_sequence(self) -> list[int]:
        self.open += 1
        return []

    def close_sequence(self, _sequence: list[int]) -> None:
        self.open -= 1

    def prefill(self, sequence: list[int], ids: np.ndarray) -> np.ndarray:
        assert len(ids) == 1
        return self.decode([sequence], ids)[0]

    def decode(self, sequences: list[list[int]], ids: np.ndarray) -> np.ndarray:
        self.steps.append(len(sequences))
        for sequence, token in zip(sequences, ids, strict=True):
            sequence.append(int(token))
        return np.array([[len(sequence), sequence[-1]] for sequence in sequences], np.float32)


def test_texts_are_decoded_together_and_leave_when_they_end() -> None:
    engine: Any = CountingEngine()
    texts = [np.arange(3), np.arange(10, 11), np.arange(20, 22)]
    found = measure_loss.decode_texts(engine, texts, 2)
    for logits, ids in zip(found, texts, strict=True):
        np.testing.assert_array_equal(logits, np.stack([np.arange(len(ids)) + 1, ids], axis=1))
    # Two first tokens, then the rest of the longer text alone; then the third by itself.
    assert engine.steps == [1, 1, 1, 1, 1, 1]
    assert engine.open == 0
    engine.steps.clear()
    measure_loss.decode_texts(engine, texts, 3)
    assert engine.steps == [1, 1, 1, 2, 1]
