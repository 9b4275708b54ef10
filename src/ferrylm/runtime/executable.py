"""A compiled library in memory: its step functions and its repacking functions."""

from __future__ import annotations

from typing import Any

from ferrylm.errors import LibraryMismatchError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends.base import Backend
from ferrylm.runtime.manifest import Library
from ferrylm.runtime.memory_read import FUNCTION


class Executable:
    """The functions of a library, on a device."""

    def __init__(self, artifact: Artifact, library: Library, backend: Backend) -> None:
        """Load the library; its hash is checked before any of its code can run.

        Raises IntegrityError, and LibraryMismatchError if it lacks what the manifest promises.
        """
        import tvm_ffi

        self._name = library.file.path
        with artifact.library_path(library.file) as path:
            self._module = tvm_ffi.load_module(str(path))
        try:
            self._machine = backend.load(self._module)
        except (AttributeError, RuntimeError, ValueError) as error:
            raise self.mismatch("no model", "a compiled model") from error

    def step(self, name: str) -> Any:
        """Return a step function of the model: prefill, score or decode_B."""
        try:
            return self._machine[name]
        except AttributeError as error:
            raise self.mismatch(f"no function {name}", "the step functions of a model") from error

    def transform(self, name: str) -> Any:
        """Return a function (sources..., target) that packs a parameter."""
        try:
            return self._module.get_function(name, query_imports=True)
        except AttributeError as error:
            raise self.mismatch(f"no function {name}", "what the manifest names") from error

    def memory_reader(self) -> Any:
        """Return the kernel that measures bandwidth; None in a library that has none."""
        try:
            return self._module.get_function(FUNCTION, query_imports=True)
        except AttributeError:
            return None

    def mismatch(self, found: str, wanted: str) -> LibraryMismatchError:
        """Return the error of a library that is not what the manifest says."""
        return LibraryMismatchError(
            f"{self._name} has {found}", wanted=wanted, fix="compile the model again"
        )
