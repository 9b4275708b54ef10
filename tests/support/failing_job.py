"""A library job that fails; in a module of its own, for a worker process must find it."""

from __future__ import annotations

import atexit
import sys
from dataclasses import dataclass

from ferrylm.compile.library import BuiltLibrary
from ferrylm.errors import CompileError


@dataclass(frozen=True)
class FailingJob:
    target: str
    error: str = ""  # what an unforeseen error says

    def run(self) -> BuiltLibrary:
        if self.error:
            atexit.register(print, "Warning: said while it ends", file=sys.stderr)
            raise RuntimeError(self.error)
        raise CompileError("a spilled register", wanted="none", fix="smaller tiles")
