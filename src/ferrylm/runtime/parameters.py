"""The device tensors of a library, made of the artifact's canonical weights."""

from __future__ import annotations

from typing import Any

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.device_tensors import Array, aligned, aligned_zeros, as_tensor
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.manifest import Library, Manifest
from ferrylm.runtime.progress import Progress, ProgressCallback
from ferrylm.runtime.random_weights import random_tensor


def load_parameters(
    artifact: Artifact, library: Library, executable: Executable, progress: ProgressCallback
) -> list[Any]:
    """Read, check and pack every parameter; one canonical tensor is in memory at a time.

    Raises IntegrityError, ArtifactError, LibraryMismatchError.
    """
    manifest = artifact.manifest
    entries = {entry.name: entry for entry in manifest.weights.tensors}
    total = len(library.parameters)
    loaded = []
    for done, parameter in enumerate(library.parameters):
        progress(Progress("load", done, total, "tensors"))
        sources = [aligned(_canonical(artifact, manifest, entries, n)) for n in parameter.sources]
        if parameter.transform is None:
            loaded.append(as_tensor(sources[0]))
            continue
        target = as_tensor(aligned_zeros(parameter.shape, parameter.dtype))
        executable.transform(parameter.transform)(*map(as_tensor, sources), target)
        loaded.append(target)
    progress(Progress("load", total, total, "tensors"))
    return loaded


def parameter_bytes(library: Library) -> int:
    """Return the memory that all parameters take."""
    import numpy as np

    return sum(
        int(np.prod(p.shape, dtype=np.int64)) * np.dtype(p.dtype).itemsize
        for p in library.parameters
    )


def _canonical(artifact: Artifact, manifest: Manifest, entries: dict[str, Any], name: str) -> Array:
    if manifest.weights.mode == "random":
        return random_tensor(name, entries, manifest.weights.seed or 0)
    return artifact.read_tensor(name)
