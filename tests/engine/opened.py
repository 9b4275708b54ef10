"""Engines of the tiny models, opened for a test and closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import Engine, open_engine
from ferrylm.runtime.kv_pages import Sequence
from tests.engine.built_artifacts import Build


class OpenEngine(Protocol):
    """How a test asks for an engine; the options are those of `ferrylm.runtime.engine`."""

    def __call__(self, recipe: str, **options: Any) -> tuple[Artifact, Engine]: ...


@contextmanager
def opener(build: Build) -> Iterator[OpenEngine]:
    """Yield a function that opens engines."""
    with ExitStack() as stack:

        def open_one(recipe: str, **options: Any) -> tuple[Artifact, Engine]:
            artifact = stack.enter_context(Artifact.open(build(recipe)))
            engine = open_engine(artifact, **{"threads": 1, **options})
            stack.callback(engine.close)
            return artifact, engine

        yield open_one


def token_ids(engine: Engine, count: int, seed: int = 0) -> np.ndarray:
    """Return random tokens of the engine's vocabulary."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, engine.vocab_size, count).astype(np.int32)


def prefilled(engine: Engine, ids: np.ndarray, chunks: list[int] | None = None) -> Any:
    """Open a sequence of these tokens, split at `chunks`; return it and the last logits."""
    sequence = engine.open_sequence()
    for part in np.split(ids, chunks or []):
        logits = engine.prefill(sequence, part)
    return sequence, logits


def stepped(engine: Engine, ids: np.ndarray) -> np.ndarray:
    """Return the logits after each token, decoded one by one in a sequence of their own."""
    sequence: Sequence = engine.open_sequence()
    try:
        return np.stack([engine.decode([sequence], ids[i : i + 1])[0] for i in range(len(ids))])
    finally:
        engine.close_sequence(sequence)
