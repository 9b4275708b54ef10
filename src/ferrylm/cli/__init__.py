"""The command `ferry`."""

from __future__ import annotations

from ferrylm.cli.application import main

__all__ = ["main"]
