"""The page of `ferry doctor` on Vulkan, from recorded reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gpu_devices as gpus

from ferrylm.cli.doctor_checks import OK, WARN, Line
from ferrylm.cli.doctor_probe import Probe
from ferrylm.cli.doctor_vulkan import check_vulkan

NOTHING = Probe("0.27.0.post1", "0.1.15", None, True, (), ())


def page(devices: list[dict[str, Any]], **changes: Any) -> list[Line]:
    report = {
        "loader": "libvulkan.so.1",
        "loader_attempts": [{"path": "libvulkan.so.1", "outcome": "loaded"}],
        "driver_files": ["/usr/share/vulkan/icd.d/radeon_icd.x86_64.json"],
        "instance_version": "1.3.239",
        "reason": "",
        "devices": devices,
        **changes,
    }
    return check_vulkan(replace(NOTHING, vulkan=report))


def texts(lines: list[Line]) -> dict[str, str]:
    return {line.name: line.detail for line in lines}


def test_a_device_is_shown_with_driver_features_and_heaps() -> None:
    lines = page([gpus.report("steam_deck"), gpus.report("lavapipe")])
    assert {line.status for line in lines} == {OK}
    found = texts(lines)
    assert found["vulkan loader"] == "libvulkan.so.1, Vulkan 1.3.239"
    assert found["vulkan drivers"] == "radeon_icd.x86_64.json"
    assert "VANGOGH) (integrated), " in found["vulkan:0"]
    assert found["vulkan:0 features"].startswith("subgroups of 32 to 64, float16, int8 dot product")
    assert found["vulkan:0 memory"].count("free of") == 2
    assert "(software)" in found["vulkan:1"]
    assert found["vulkan:1 features"].startswith("subgroups of 8, ")


def test_a_machine_without_a_loader_is_told_where_it_was_looked_for() -> None:
    tried = [{"path": "libvulkan.so.1", "outcome": "cannot open"}]
    (line,) = page([], loader="", loader_attempts=tried)
    assert line.status == WARN
    assert "libvulkan.so.1: cannot open" in line.detail
    assert line.fix


def test_a_loader_without_a_driver_is_told_the_reason() -> None:
    reason = "[vulkan:no-device] the Vulkan loader found no device"
    lines = page([], driver_files=[], reason=reason)
    found = {line.name: line for line in lines}
    assert found["vulkan drivers"].status == found["vulkan devices"].status == WARN
    assert found["vulkan devices"].detail == "the Vulkan loader found no device"
    assert "mesa-vulkan-drivers" in found["vulkan devices"].fix


def test_a_device_that_cannot_be_used_says_why() -> None:
    bad = {**gpus.report("radeon_rx580"), "usable": False, "reason": "it is older than Vulkan 1.2"}
    line = page([bad])[-1]
    assert (line.name, line.status) == ("vulkan:0", WARN)
    assert "older than Vulkan 1.2" in line.detail


def test_a_native_library_that_does_not_load_is_a_finding() -> None:
    (line,) = check_vulkan(replace(NOTHING, vulkan_problem="libferrylm_vulkan.so was not built"))
    assert (line.status, line.detail) == (WARN, "libferrylm_vulkan.so was not built")
    assert line.fix
