"""The command `ferry`."""

from __future__ import annotations

from ferrylm.cli.application import application, main

__all__ = ["application", "main"]
