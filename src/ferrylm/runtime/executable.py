"""A compiled library in memory: its step functions and its repacking functions."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from ferrylm.errors import LibraryMismatchError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import Library

_RUNTIME_ONLY = "TVM_USE_RUNTIME_LIB"
_MOST_THREADS = "TVM_NUM_THREADS"
_BIG_CORES = 1  # TVM's mode that prefers the fastest cores
_pool = threading.local()


def prefer_runtime_only() -> None:
    """Have TVM load its runtime without its compiler, if nobody has imported it yet.

    The compiler costs a quarter of a second and 100 MB, and running an artifact needs none of it.
    """
    if "tvm" not in sys.modules:
        os.environ.setdefault(_RUNTIME_ONLY, "1")


class Executable:
    """The functions of a library, on the CPU."""

    def __init__(self, artifact: Artifact, library: Library) -> None:
        """Load the library; its hash is checked before any of its code can run.

        Raises IntegrityError, and LibraryMismatchError if it lacks what the manifest promises.
        """
        prefer_runtime_only()
        import tvm_ffi
        from tvm.runtime import cpu
        from tvm.runtime.vm import VirtualMachine

        self._name = library.file.path
        with artifact.library_path(library.file) as path:
            self._module = tvm_ffi.load_module(str(path))
        try:
            self._machine = VirtualMachine(self._module, cpu())
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

    def mismatch(self, found: str, wanted: str) -> LibraryMismatchError:
        """Return the error of a library that is not what the manifest says."""
        return LibraryMismatchError(
            f"{self._name} has {found}", wanted=wanted, fix="compile the model again"
        )


def use_threads(count: int) -> None:
    """Give the calling thread's kernels `count` worker threads, itself among them.

    TVM keeps a pool for each thread that calls kernels, so every one of them must be told. A pool
    never grows, and has half of the processors unless the environment says otherwise: so it is
    made for all of them, and then told how many to use.
    """
    if getattr(_pool, "count", None) == count:
        return
    import tvm  # noqa: F401  (it registers the function)
    import tvm_ffi

    os.environ[_MOST_THREADS] = str(max(count, len(os.sched_getaffinity(0))))
    tvm_ffi.get_global_func("runtime.config_threadpool")(_BIG_CORES, count)
    _pool.count = count
