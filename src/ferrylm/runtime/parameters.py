"""The device tensors of a library, made of the artifact's canonical weights."""

from __future__ import annotations

from typing import Any

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.device_tensors import Arena, Array, aligned, aligned_bytes, as_tensor
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
    arena = Arena(parameter_bytes(library))
    loaded = []
    for done, parameter in enumerate(library.parameters):
        progress(Progress("load", done, total, "tensors"))
        sources = [aligned(_canonical(artifact, manifest, entries, n)) for n in parameter.sources]
        target = arena.take(parameter.shape, parameter.dtype)
        tensor = as_tensor(target)
        if parameter.transform is None:
            target[...] = sources[0]
        else:
            executable.transform(parameter.transform)(*map(as_tensor, sources), tensor)
        loaded.append(tensor)
    progress(Progress("load", total, total, "tensors"))
    return loaded


def parameter_bytes(library: Library) -> int:
    """Return the memory that all parameters take."""
    return sum(aligned_bytes(p.shape, p.dtype) for p in library.parameters)


def _canonical(artifact: Artifact, manifest: Manifest, entries: dict[str, Any], name: str) -> Array:
    if manifest.weights.mode == "random":
        return random_tensor(name, entries, manifest.weights.seed or 0)
    return artifact.read_tensor(name)
