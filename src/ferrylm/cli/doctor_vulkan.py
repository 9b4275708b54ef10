"""The page of `ferry doctor` on Vulkan: loader, drivers, devices, and the reason for none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferrylm.cli.doctor_checks import OK, WARN, Line
from ferrylm.cli.doctor_probe import Probe
from ferrylm.cli.units import binary_size
from ferrylm.runtime.backends.vulkan_report import without_tag

INSTALL = "install ferrylm again where a C++ compiler is, to run models with Vulkan"
_DRIVER_FIX = "install the GPU's driver (Debian: mesa-vulkan-drivers), or use --device cpu"
_LOADER_FIX = "install the Vulkan loader (Debian: libvulkan1), or use --device cpu"

# What kernels gain from, and what people call it.
_SHOWN_FEATURES = {
    "shaderFloat16": "float16",
    "integerDotProduct4x8BitPackedSignedAccelerated": "int8 dot product",
    "cooperativeMatrix": "cooperative matrix",
    "storageBuffer16BitAccess": "16-bit storage",
    "storageBuffer8BitAccess": "8-bit storage",
    "subgroupSizeControl": "choice of subgroup size",
}


def check_vulkan(probe: Probe, repair: str = INSTALL) -> list[Line]:
    """Show what the native library finds; a machine without Vulkan is a warning, not a failure.

    `repair` brings a native library that loads.
    """
    report = probe.vulkan
    if report is None:
        return [Line("vulkan", WARN, probe.vulkan_problem or "not asked", repair)]
    if not report["loader"]:
        tried = "; ".join(f"{at['path']}: {at['outcome']}" for at in report["loader_attempts"])
        return [Line("vulkan loader", WARN, f"none found ({tried})", _LOADER_FIX)]
    version = report.get("instance_version", "no instance")
    lines = [Line("vulkan loader", OK, f"{report['loader']}, Vulkan {version}"), _drivers(report)]
    devices = report["devices"]
    if not devices:
        reason = without_tag(str(report["reason"])) or "no device"
        return [*lines, Line("vulkan devices", WARN, reason, _DRIVER_FIX)]
    for index, device in enumerate(devices):
        lines += _device(index, device)
    return lines


def _drivers(report: Mapping[str, Any]) -> Line:
    names = [Path(file).name for file in report["driver_files"]]
    if not names:
        return Line("vulkan drivers", WARN, "no driver file (ICD) was found", _DRIVER_FIX)
    return Line("vulkan drivers", OK, ", ".join(names))


def _device(index: int, device: Mapping[str, Any]) -> list[Line]:
    name = f"vulkan:{index}"
    what = (
        f"{device['name']} ({device['type']}), {device['driver']}, Vulkan {device['api_version']}"
    )
    if not device["usable"]:
        fix = "update its driver, or use another device"
        return [Line(name, WARN, f"{what}: cannot be used, {device['reason']}", fix)]
    least, most = device["min_subgroup_size"], device["max_subgroup_size"]
    sizes = f"subgroups of {least}" + ("" if least == most else f" to {most}")
    has = [text for key, text in _SHOWN_FEATURES.items() if key in device["features"]]
    return [
        Line(name, OK, what),
        Line(f"{name} features", OK, ", ".join([sizes, *has])),
        Line(f"{name} memory", OK, "; ".join(map(_heap, device["heaps"]))),
    ]


def _heap(heap: Mapping[str, Any]) -> str:
    free, size = binary_size(heap["free_bytes"]), binary_size(heap["size_bytes"])
    where = "device" if heap["device_local"] else "host"
    return f"{where} {free} free of {size}"
