"""Failures of the driver: typed errors, nothing lost, a process that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vulkan_stand_in import run_case


@pytest.mark.parametrize("memory", ["real", "discrete", "apu"])
def test_a_lost_device_is_a_typed_error_and_can_be_opened_again(
    stand_in_loader: Path, tmp_path: Path, memory: str
) -> None:
    run_case("lost_device", stand_in_loader, tmp_path, FERRY_STAND_IN=memory)


def test_memory_that_any_call_lacks_is_a_typed_error_and_leaks_nothing(
    stand_in_loader: Path, tmp_path: Path
) -> None:
    run_case("out_of_memory", stand_in_loader, tmp_path)


@pytest.mark.parametrize(
    "case",
    [
        "opening_fails",
        "timeouts",
        "tensors_of_a_lost_device",
        "no_instance",
    ],
)
def test_the_process_goes_on_after(case: str, stand_in_loader: Path, tmp_path: Path) -> None:
    run_case(case, stand_in_loader, tmp_path)


@pytest.mark.parametrize(("memory", "least_count"), [("discrete", 25), ("apu", 25)])
def test_a_full_device_is_an_error_that_gives_each_heap(
    stand_in_loader: Path, tmp_path: Path, memory: str, least_count: int
) -> None:
    printed = run_case("all_of_the_memory", stand_in_loader, tmp_path, FERRY_STAND_IN=memory)
    found = json.loads(printed)
    # An APU's tensors lie in both heaps, a discrete GPU's in its own memory only.
    assert least_count <= found["count"] < 200
    assert "asked for 3.00 MiB" in found["message"]
    assert "heap 0" in found["message"]
    assert "heap 1" in found["message"]


@pytest.mark.parametrize("memory", ["real", "discrete", "apu"])
def test_copies_are_exact_whatever_the_memory_is_like(
    stand_in_loader: Path, tmp_path: Path, memory: str
) -> None:
    run_case("large_copies", stand_in_loader, tmp_path, FERRY_STAND_IN=memory)


def test_a_machine_without_vulkan_says_so_and_keeps_its_cpu(tmp_path: Path) -> None:
    run_case("no_loader", "/nowhere/libvulkan.so.1", tmp_path)
