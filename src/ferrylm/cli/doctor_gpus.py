"""The lines of `ferry doctor` on NVIDIA's and AMD's GPUs; doctor_vulkan.py has a page on Vulkan."""

from __future__ import annotations

from ferrylm.cli.doctor_checks import OK, WARN, Line
from ferrylm.cli.doctor_probe import GpuKind, Probe

_FIX = "install the GPU's driver, or use another device"


def check_gpus(probe: Probe, kind: str, *, wanted: bool = False) -> list[Line]:
    """Show the GPUs of a kind; where none is, that counts only if one is `wanted`."""
    found = probe.gpus.get(kind, GpuKind(problem="not asked"))
    lines = [Line(f"{kind}:{index}", OK, text) for index, text in enumerate(found.devices)]
    if not found.problem:
        return lines
    if found.devices or wanted:
        return [*lines, Line(kind, WARN, found.problem, found.fix or _FIX)]
    return [Line(kind, OK, found.problem)]
