"""AMD GPUs ahead of time: one bundle of code objects for many chips, with no ROCm installed."""

from __future__ import annotations
