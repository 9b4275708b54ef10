"""Devices as drivers report them, for tests of the choice of a library."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ferrylm.runtime.backends.vulkan_report import device_of
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.devices import GpuDevice, GpuProbe, Machine

REPORTS = Path(__file__).parents[1] / "fixtures" / "vulkan_reports"


def report(name: str) -> dict[str, Any]:
    """Return a recorded report of a Vulkan device."""
    found: dict[str, Any] = json.loads((REPORTS / f"{name}.json").read_text())["report"]
    return found


def vulkan(file: str, **changes: Any) -> GpuDevice:
    """Return a recorded Vulkan device."""
    return replace(device_of(report(file), 0), **changes)


DECK, RTX, ARC = vulkan("steam_deck"), vulkan("geforce_rtx4090"), vulkan("intel_arc_a770")
LAVAPIPE, POLARIS, APPLE = vulkan("lavapipe"), vulkan("radeon_rx580"), vulkan("apple_m1_moltenvk")
MALI, PHOENIX, HOPPER = vulkan("mali_g720"), vulkan("radeon_780m"), vulkan("nvidia_h100")

HOST = HostCpu("x86_64", frozenset({"avx2", "fma"}), "Some CPU", 8, 4)


def cuda(name: str, architecture: str, index: int = 0, driver: str = "13.0") -> GpuDevice:
    return GpuDevice(
        "cuda", index, name, f"GPU-{index:032x}", "discrete", "580.82", driver, 24 << 30, 24 << 30,
        architecture, frozenset({"compute"}),
    )  # fmt: skip


def rocm(name: str, architecture: str, device_class: str = "discrete") -> GpuDevice:
    return GpuDevice(
        "rocm", 0, name, "", device_class, "6.4", "", 16 << 30, 16 << 30, architecture
    )  # fmt: skip


def machine(*devices: GpuDevice, host: HostCpu = HOST, **problems: str) -> Machine:
    """Return a machine with these GPUs; `problems` say why a kind has none."""
    probes = {
        kind: GpuProbe(tuple(d for d in devices if d.kind == kind), problems.get(kind))
        for kind in ("vulkan", "cuda", "rocm")
    }
    return Machine(host, None, probes)
