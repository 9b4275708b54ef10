"""How TVM is loaded: its runtime alone suffices, and only that is loaded where one can choose."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version

_RUNTIME_ONLY = "TVM_USE_RUNTIME_LIB"


def prefer_runtime_only() -> None:
    """Have TVM load its runtime without its compiler, if nobody has imported it yet.

    The compiler costs a quarter of a second and 100 MB, and running an artifact needs none of it.
    """
    if "tvm" not in sys.modules:
        os.environ.setdefault(_RUNTIME_ONLY, "1")


def import_failure() -> str:
    """Import TVM and return why that failed; empty when it is imported.

    A native library that needs TVM's finds them by name once they are in the process, wherever they
    lie; the loader's own search knows only some places.
    """
    try:
        import tvm  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return f"TVM cannot be imported: {error}"
    return ""


def installed_tvm() -> str | None:
    """Return the installed TVM's version; None where TVM lies about without its metadata."""
    try:
        return version("apache-tvm")
    except PackageNotFoundError:
        return None
