"""The models whose logits measure_loss.py compares.

The reference and the source need the compiler's readers; an engine that decodes does not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ferrylm.errors import UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import Engine
from scripts.goldens_files import read_texts

Logits = Callable[[np.ndarray], np.ndarray]


def token_ids(artifact: Artifact, texts: Path, most: int) -> list[np.ndarray]:
    """Return the tokens of each text of a file, `most` of them where that is not 0."""
    from ferrylm.runtime.tokenizer import load_tokenizer

    tokenizer, longest = load_tokenizer(artifact), artifact.manifest.model.context_length
    found = [np.array(tokenizer.encode(text), np.int32) for text in read_texts(texts)]
    return [ids[: min(longest, most or longest)] for ids in found]


def reference_model(
    artifact: Artifact, *, int8_activations: bool = False, half_products: bool = False
) -> Logits:
    """Return the float64 model of an artifact's own weights. Raises UsageError."""
    from tests.model_weights import artifact_weights
    from tests.reference import llama_logits

    manifest = artifact.manifest
    if manifest.weights.mode != "stored":
        raise UsageError(
            f"{manifest.name} has random weights",
            wanted="an artifact with stored weights",
            fix="compile a model that has weights",
        )
    weights = artifact_weights(artifact)
    return lambda ids: llama_logits(
        manifest.model,
        weights,
        ids,
        int8_activations=int8_activations,
        half_products=half_products,
    )


def source_model(path: Path, artifact: Artifact) -> Logits:
    """Return the float64 model of the source's weights. Raises SourceError."""
    from ferrylm.compile.sources import open_source
    from tests.model_weights import source_weights
    from tests.reference import llama_logits

    config = artifact.manifest.model
    with open_source(path) as source:
        weights = source_weights(source.tensors, config)
    return lambda ids: llama_logits(config, weights, ids)


def decode_texts(engine: Engine, texts: list[np.ndarray], batch: int) -> list[np.ndarray]:
    """Return the logits after each token, read one by one, of so many texts at a time."""
    found = [np.empty((len(ids), engine.vocab_size), np.float32) for ids in texts]
    for start in range(0, len(texts), batch):
        part = range(start, min(start + batch, len(texts)))
        sequences = {index: engine.open_sequence() for index in part}
        for index, sequence in sequences.items():
            found[index][0] = engine.prefill(sequence, texts[index][:1])
        for position in range(1, max(len(texts[index]) for index in part)):
            left = [index for index in part if position < len(texts[index])]
            ids = np.array([texts[index][position] for index in left], np.int32)
            logits = engine.decode([sequences[index] for index in left], ids)
            for index, row in zip(left, logits, strict=True):
                found[index][position] = row
        for sequence in sequences.values():
            engine.close_sequence(sequence)
    return found
