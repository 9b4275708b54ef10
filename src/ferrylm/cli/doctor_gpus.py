"""The lines of `ferry doctor` on NVIDIA's and AMD's GPUs; doctor_vulkan.py has a page on Vulkan."""

from __future__ import annotations

from ferrylm.cli.doctor_checks import OK, WARN, Line
from ferrylm.cli.doctor_probe import GpuKind, Probe

_FIX = "mend that, or use another device"


def check_gpus(probe: Probe, kind: str, *, wanted: bool = False) -> list[Line]:
    """Show the GPUs of a kind; that there are none counts only if one is `wanted`."""
    found = probe.gpus.get(kind, GpuKind(problem="not asked"))
    if found.devices:
        return [Line(f"{kind}:{index}", OK, text) for index, text in enumerate(found.devices)]
    return [Line(kind, WARN, found.problem, _FIX) if wanted else Line(kind, OK, found.problem)]
