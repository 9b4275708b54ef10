"""An engine whose device shares no memory with the host gives the same bits as one whose does."""

from __future__ import annotations

import numpy as np
import pytest
from copying_backend import CopyingBackend

from ferrylm.errors import IntegrityError
from ferrylm.runtime import engine as engine_module
from ferrylm.runtime import verification
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import Engine
from tests.engine.built_artifacts import Build
from tests.engine.opened import OpenEngine, prefilled, stepped, token_ids


def copy_everything(monkeypatch: pytest.MonkeyPatch) -> CopyingBackend:
    """Let engines opened from now on run on a device of its own."""
    made = CopyingBackend()
    for module in (engine_module, verification):
        monkeypatch.setattr(module, "open_backend", lambda _device, _threads: made)
    return made


def run(engine: Engine) -> list[np.ndarray]:
    """Prefill, decode, score and batches; pages that were used before are used again."""
    found = [engine.score(token_ids(engine, 40))]
    for seed in range(2):
        sequence, logits = prefilled(engine, token_ids(engine, 50, seed), [13, 45])
        others = [prefilled(engine, token_ids(engine, 5 + i, seed))[0] for i in range(2)]
        found += [logits, stepped(engine, token_ids(engine, 20, seed + 5))]
        for i in range(3):
            ids = token_ids(engine, 3, 50 + i)
            found.append(engine.decode([sequence, *others], ids))
        for held in (sequence, *others):
            engine.close_sequence(held)
    return found


@pytest.mark.parametrize("recipe", ["plain", "int16"])
def test_a_device_of_its_own_gives_the_bits_of_the_host(
    recipe: str, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, on_host = open_engine(recipe, max_sequences=4)
    wanted = run(on_host)
    backend = copy_everything(monkeypatch)
    _, engine = open_engine(recipe, max_sequences=4)
    assert engine.backend is backend
    for found, right in zip(run(engine), wanted, strict=True):
        np.testing.assert_array_equal(found, right)
    batches = sorted({batch for batch, _ in engine._decode_steps})
    assert batches == [1, 4]
    assert len(backend.steps) == len(engine._decode_steps), "a step is made once"
    assert sum(step.runs for step in backend.steps) == 2 * (20 + 3)


def test_verification_passes_on_a_device_of_its_own(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = copy_everything(monkeypatch)
    with Artifact.open(build("int16")) as artifact:
        checks = verification.verify(artifact)
    assert len(checks) > 20
    assert [check for check in checks if not check.passed] == []
    assert backend.closed


def test_weights_that_change_while_they_are_uploaded_are_refused(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_everything(monkeypatch)
    with Artifact.open(build("int16")) as artifact:
        original = artifact._shards.read_part

        def changing(name: str, start: int, buffer: memoryview) -> None:
            monkeypatch.setattr("ferrylm.runtime.weight_shards._stamp", lambda _fd: (0, 0))
            original(name, start, buffer)

        monkeypatch.setattr(artifact._shards, "read_part", changing)
        with pytest.raises(IntegrityError, match="changed while it was read"):
            engine_module.open_engine(artifact)
