"""scripts/measure_loss.py on an artifact: references are stored, and compared with elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferrylm.errors import UsageError
from ferrylm.runtime.artifact import Artifact
from scripts import measure_loss
from scripts.stored_logits import read_stored
from tests.engine.built_artifacts import Build

TEXTS = "one two three\n%%\nfour\n%%\nfive, six, seven, eight\n"


def arguments(path: Path, **changes: Any) -> argparse.Namespace:
    texts = path.parent / "texts.txt"
    if not texts.exists():
        texts.write_text(TEXTS)
    asked = {
        "artifact": path, "source": None, "texts": texts, "device": "cpu", "target": None,
        "decode": 0, "tokens": 0, "half": False, "store": None, "stored": None, "gate": None,
    }  # fmt: skip
    return argparse.Namespace(**{**asked, **changes})


@pytest.fixture
def stored(build: Build, tmp_path: Path) -> Path:
    path = tmp_path / "reference.npz"
    measure_loss.store_references(arguments(build("int16"), store=path, tokens=9))
    return path


def test_stored_references_give_what_references_give(build: Build, stored: Path) -> None:
    anew = measure_loss.measure(arguments(build("int16"), decode=2, tokens=9))
    kept = measure_loss.measure(arguments(build("int16"), decode=2, stored=stored))
    assert [row["comparison"] for row in kept["rows"]] == ["implementation", "decode"]
    assert kept["texts"] == 3
    for one, other in zip(anew["rows"], kept["rows"], strict=True):
        assert one["measured"]["positions"] == other["measured"]["positions"] == 9 + 4 + 9
        assert other["measured"]["mean_kld"] < 1e-5
        assert one["measured"]["mean_kld"] == pytest.approx(
            other["measured"]["mean_kld"], rel=1e-2, abs=1e-12
        )
        assert not other["violations"]


def test_what_float16_products_cost_is_told_by_the_reference_itself(build: Build) -> None:
    rows = measure_loss.measure(arguments(build("int16"), tokens=9, half=True))["rows"]
    cost = {row["comparison"]: row["measured"] for row in rows}["f16 reference"]
    # Inputs and weights are off by 2 ** -12 of themselves, one after another through the model.
    assert 1e-4 < cost["logits_error"] < 2e-2
    assert 1e-9 < cost["mean_kld"] < 1e-5


def test_references_of_other_weights_are_refused(build: Build, stored: Path) -> None:
    with pytest.raises(UsageError, match="logits of other weights"):
        measure_loss.measure(arguments(build("bytes"), stored=stored))


def test_an_engine_that_errs_is_seen_in_stored_references(build: Build, stored: Path) -> None:
    with Artifact.open(build("int16")) as artifact:
        texts = read_stored(stored, artifact.manifest)
        off = [
            logits + np.float32(0.5) * (np.arange(logits.shape[1]) % 2) for logits in texts.logits
        ]
        changed = stored.with_name("changed.npz")
        measure_loss.store(changed, artifact.manifest, measure_loss.StoredTexts(texts.ids, off))
    rows = measure_loss.measure(arguments(build("int16"), decode=1, stored=changed))["rows"]
    assert all(row["violations"] for row in rows)
