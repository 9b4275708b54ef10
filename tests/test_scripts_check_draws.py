"""scripts/check_draws.py on an engine of arithmetic."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferrylm.runtime.ahead import AheadStatistics

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_draws.py"
VOCABULARY = 50


def script() -> Any:
    spec = importlib.util.spec_from_file_location("check_draws", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Arithmetic:
    """The next token is the last one's successor, drawn by host and device alike, or nearly."""

    vocab_size = VOCABULARY

    def __init__(self, wrong_at: int = -1) -> None:
        self.ahead_statistics = AheadStatistics(7, 0.0, 1)
        self._wrong_at = wrong_at
        self._open: list[int] = []
        self._last = self._drawn = 0

    def open_sequence(self) -> object:
        self._open.append(1)
        return object()

    def close_sequence(self, _sequence: object) -> None:
        self._open.pop()

    def prefill(self, _sequence: object, prompt: Any) -> Any:
        return self._logits(int(prompt[-1]))

    def decode(self, _sequences: list[object], ids: Any) -> Any:
        return self._logits(int(ids[0]))[None]

    def begin_drawing(self, _sequence: object, draws: Any) -> None:
        self._last, self._drawn = draws.last_id, 0

    def next_reports(self, _sequences: list[object]) -> list[Any]:
        self._last, self._drawn = (self._last + 1) % VOCABULARY, self._drawn + 1
        token = (self._last + (self._drawn == self._wrong_at)) % VOCABULARY
        return [np.array([token, 0, 0, 0], np.int32)]

    def _logits(self, last: int) -> Any:
        logits = np.full(VOCABULARY, -1000, np.float32)
        logits[(last + 1) % VOCABULARY] = 1000
        return logits


def test_equal_answers_are_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert script().compare(Arithmetic(), 20, 3)
    printed = capsys.readouterr().out.splitlines()
    assert sum("20 of 20 tokens the same" in line for line in printed) == len(script().CASES)
    assert printed[-1] == "7 steps launched, 1 of them onto an idle device"


def test_a_greedy_answer_that_differs_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert not script().compare(Arithmetic(wrong_at=4), 20, 3)
    assert "4 of 20 tokens the same" in capsys.readouterr().out
