"""The device tensors of a library, made of the artifact's canonical weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends.base import Backend, ReadBytes, Tensor
from ferrylm.runtime.device_tensors import aligned_bytes, array_bytes
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.manifest import Library, Parameter, TensorEntry
from ferrylm.runtime.progress import Progress, ProgressCallback
from ferrylm.runtime.random_weights import random_tensor


def load_parameters(
    artifact: Artifact,
    library: Library,
    executable: Executable,
    backend: Backend,
    progress: ProgressCallback,
) -> list[Tensor]:
    """Read, check, pack and upload every parameter.

    A parameter without a transform goes from the file to the device in pieces; of the others the
    canonical tensors of one parameter at a time are in memory.

    Raises IntegrityError, ArtifactError, LibraryMismatchError, DeviceError, MemoryLimitError.
    """
    total, done = parameter_bytes(library), 0
    arena = backend.arena(total)
    sources = _Sources(artifact)
    loaded = []
    for parameter in library.parameters:
        progress(Progress("load", done, total, "B"))
        tensor = arena.take(parameter.shape, parameter.dtype)
        if parameter.transform is None:
            size_bytes = array_bytes(parameter.shape, parameter.dtype)
            backend.fill(tensor, size_bytes, sources.reader(parameter.sources[0]))
        else:
            _transform(parameter, sources, executable, backend, tensor)
        loaded.append(tensor)
        done += aligned_bytes(parameter.shape, parameter.dtype)
    backend.synchronize()
    progress(Progress("load", total, total, "B"))
    return loaded


def parameter_bytes(library: Library) -> int:
    """Return the memory that all parameters take."""
    return sum(aligned_bytes(p.shape, p.dtype) for p in library.parameters)


def _transform(
    parameter: Parameter,
    sources: _Sources,
    executable: Executable,
    backend: Backend,
    tensor: Tensor,
) -> None:
    assert parameter.transform is not None, "the caller looked"
    function = executable.transform(parameter.transform)
    canonical = []
    for name in parameter.sources:
        entry = sources.entry(name)
        size_bytes = array_bytes(entry.shape, entry.dtype)
        source = backend.arena(aligned_bytes(entry.shape, entry.dtype)).take(
            entry.shape, entry.dtype
        )
        backend.fill(source, size_bytes, sources.reader(name))
        canonical.append(source)
    function(*canonical, tensor)
    # What the kernels read must not be freed before they are done.
    backend.synchronize()


class _Sources:
    """The canonical tensors of an artifact: stored ones by their bytes, random ones made anew."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact, self._weights = artifact, artifact.manifest.weights
        self._entries = {entry.name: entry for entry in self._weights.tensors}

    def entry(self, name: str) -> TensorEntry:
        """Return dtype and shape of a tensor."""
        return self._entries[name]

    def reader(self, name: str) -> ReadBytes:
        """Return the function that reads parts of a tensor."""
        if self._weights.mode == "stored":
            return lambda start, buffer: self._artifact.read_tensor_part(name, start, buffer)
        array: Any = random_tensor(name, self._entries, self._weights.seed or 0)
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

        def read(start: int, buffer: memoryview) -> None:
            np.frombuffer(buffer, np.uint8)[...] = content[start : start + len(buffer)]

        return read
