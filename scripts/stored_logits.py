"""Logits of the reference in a file, for machines where the reference is not to run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferrylm.errors import UsageError
from ferrylm.runtime.manifest import Manifest

_WEIGHTS = "weights"


@dataclass(frozen=True)
class StoredTexts:
    """Token ids int32 (S,) of texts, and logits float32 (S, vocabulary) of each, or none."""

    ids: list[np.ndarray]
    logits: list[np.ndarray]


def store(path: Path, manifest: Manifest, texts: StoredTexts) -> None:
    """Write texts with the digest of the weights that the logits belong to."""
    arrays: dict[str, Any] = {f"ids{index}": ids for index, ids in enumerate(texts.ids)}
    arrays |= {f"logits{index}": logits for index, logits in enumerate(texts.logits)}
    arrays[_WEIGHTS] = np.array(weights_digest(manifest))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_stored(path: Path, manifest: Manifest) -> StoredTexts:
    """Read what `store` wrote. Raises UsageError where it belongs to other weights."""
    with np.load(path, allow_pickle=False) as found:
        if _WEIGHTS not in found or str(found[_WEIGHTS]) != weights_digest(manifest):
            raise UsageError(
                f"{path.name} has the logits of other weights",
                wanted=f"those of {manifest.name}",
                fix="write them again with --store",
            )
        count = sum(name.startswith("ids") for name in found.files)
        return StoredTexts(
            [found[f"ids{index}"] for index in range(count)],
            [found[f"logits{index}"] for index in range(count)],
        )


def weights_digest(manifest: Manifest) -> str:
    """Return what tells weights apart, whatever libraries the artifact has."""
    files = [file.sha256 for file in manifest.weights.files]
    return hashlib.sha256("\n".join(files).encode()).hexdigest()
