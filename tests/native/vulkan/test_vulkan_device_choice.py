"""The choice of a device: by index, part of a name, or UUID."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tvm
from vulkan_stand_in import run_case

from ferrylm.runtime import vulkan_backend


def test_a_device_is_chosen_by_index_name_or_uuid(device: Any) -> None:
    report = vulkan_backend.device_report()
    uuid = report["uuid"]
    dashed = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}".upper()
    for spec in ("0", report["name"][1:6].upper(), uuid, dashed, ""):
        vulkan_backend.select_device(spec)
        assert device.device_name == report["name"]


@pytest.mark.parametrize("spec", ["99", "no such device", "0000000000000000"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(device: Any, spec: str) -> None:
    with pytest.raises(vulkan_backend.VulkanUnavailableError, match=f"'{spec}'; there are 0: "):
        vulkan_backend.select_device(spec)
    assert device.exist


def test_choosing_the_device_that_is_in_use_keeps_its_tensors(device: Any) -> None:
    import numpy as np

    tensor = tvm.runtime.tensor(np.arange(10), device)
    vulkan_backend.select_device("0")
    assert tensor.numpy().sum() == 45


def test_software_devices_come_last(device: Any) -> None:
    del device
    kinds = [found["type"] for found in vulkan_backend.loader_report()["devices"]]
    assert kinds == sorted(kinds, key=lambda kind: kind == "software")


def test_the_environment_chooses_too(stand_in_loader: Path, tmp_path: Path, device: Any) -> None:
    name = device.device_name
    printed = run_case(
        "chosen_device", stand_in_loader, tmp_path, FERRY_VULKAN_DEVICE=name.split()[0].lower()
    )
    assert json.loads(printed)[0] == name
    printed = run_case("chosen_device", stand_in_loader, tmp_path, FERRY_VULKAN_DEVICE="nothing")
    assert json.loads(printed) == []
