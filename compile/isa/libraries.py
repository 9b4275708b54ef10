"""Which Vulkan kernels a path holds: an artifact, a library, or a bare container."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ferrylm.compile.isa.container import Kernel, find_kernels
from ferrylm.errors import UsageError
from ferrylm.runtime.artifact import MAX_LIBRARY_BYTES, Artifact


@dataclass(frozen=True)
class VulkanLibrary:
    """A library file with Vulkan kernels; `name` is its target, or the file's name."""

    name: str
    kernels: tuple[Kernel, ...]


def artifact_libraries(artifact: Artifact) -> list[VulkanLibrary]:
    """Return the libraries of an artifact that hold Vulkan kernels, hashed before they are read.

    Raises IntegrityError and ArtifactError.
    """
    found = []
    for library in artifact.manifest.libraries:
        data = artifact.read_verified(library.file, MAX_LIBRARY_BYTES)
        if kernels := find_kernels(data, library.file.path):
            found.append(VulkanLibrary(library.target, tuple(kernels)))
    return found


def vulkan_libraries(path: Path) -> list[VulkanLibrary]:
    """Return what Vulkan kernels an artifact's folder, a library or a container holds.

    Raises UsageError for a file that cannot be read, and what `artifact_libraries` raises.
    """
    if path.is_dir():
        with Artifact.open(path) as artifact:
            return artifact_libraries(artifact)
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise UsageError(
            f"{path} cannot be read ({problem.strerror})",
            wanted="an artifact, a library or a container of Vulkan kernels",
            fix="check the path",
        ) from None
    kernels = find_kernels(data, path.name)
    return [VulkanLibrary(path.name, tuple(kernels))] if kernels else []
