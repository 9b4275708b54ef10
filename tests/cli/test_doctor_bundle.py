"""What `ferry doctor` says when it is started from a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Ferry

from ferrylm.cli.bundle_here import ROOT_VARIABLE
from ferrylm.cli.doctor_probe import GpuKind, LibraryVerdict, Probe
from ferrylm.runtime.bandwidth import ReadBandwidth

H200 = "NVIDIA H200 (sm_90), driver 580.159.04 for CUDA 13.0, 139.0 GiB free of 139.8 GiB"
RUNS = LibraryVerdict("cuda-sm90", True, "NVIDIA H200 (discrete) has all it needs; preference 110")
RUNS_NOT = LibraryVerdict("cuda-sm75", False, "no libcuda.so.1; install driver 580 or newer")
FOUND = Probe(
    tvm_version="0.27.0.post1",
    tvm_ffi_version="0.1.15",
    tvm_problem=None,
    has_compiler=False,
    backend_entry_points=("ferrylm_hip", "ferrylm_vulkan"),
    backend_problems=(),
    gpus={"cuda": GpuKind((H200,)), "rocm": GpuKind(problem="no libamdhip64")},
    verdicts=(RUNS, RUNS_NOT),
    vulkan_problem="libferrylm_vulkan.so was not built",
)

Bundled = Callable[..., None]


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundled:
    """Return a function that makes this process one of a bundle, and its probe find `found`."""

    def make(targets: list[str], found: Probe = FOUND, apart: tuple[str, ...] = ()) -> None:
        facts: dict[str, Any] = {"name": "tiny", "targets": targets}
        facts["weights_apart"] = [{"path": path} for path in apart]
        (tmp_path / "bundle.json").write_text(json.dumps(facts))
        monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
        monkeypatch.setattr("ferrylm.cli.doctor_probe.probe_in_child", lambda: found)

    monkeypatch.setattr(
        "ferrylm.runtime.bandwidth.measure_read_bandwidth",
        lambda threads: ReadBandwidth(threads, threads * 20e9, 1 << 28, "fake"),
    )
    return make


def findings(ferry: Ferry) -> dict[str, dict[str, str]]:
    return {line["name"]: line for line in ferry("doctor", "--json").document["checks"]}


def test_compilers_and_other_kinds_of_devices_are_not_spoken_of(
    bundled: Bundled, ferry: Ferry
) -> None:
    bundled(["cuda-sm90", "cuda-sm75"])
    found = findings(ferry)
    assert set(found) == {
        "bundle", "python", "ferrylm", "tvm", "tvm-ffi", "memory", "disk cache", "cuda:0",
        "runs cuda-sm90",
    }  # fmt: skip
    assert found["cuda:0"]["detail"] == H200
    assert not any(line["fix"] for line in found.values())


def test_processor_and_vulkan_count_where_it_has_libraries_for_them(
    bundled: Bundled, ferry: Ferry
) -> None:
    bundled(["cpu-x86-64-v3", "vulkan-subgroup32"])
    found = findings(ferry)
    assert {"cpu", "cpu features", "read bandwidth, 1 thread", "vulkan"} <= set(found)
    assert found["vulkan"]["status"] == "warn"
    assert "install.sh --check" in found["vulkan"]["fix"]


def test_a_machine_that_runs_none_of_its_libraries_is_a_failure_with_each_reason(
    bundled: Bundled, ferry: Ferry
) -> None:
    nothing = {"cuda": GpuKind(problem="no libcuda.so.1")}
    bundled(["cuda-sm75"], replace(FOUND, verdicts=(RUNS_NOT,), gpus=nothing))
    ended = ferry("doctor", "--json")
    found = {line["name"]: line for line in ended.document["checks"]}
    assert ended.code == 1
    assert found["cuda"]["status"] == "warn"
    assert found["cuda"]["fix"]
    assert found["runs not cuda-sm75"]["status"] == "fail"
    assert found["runs not cuda-sm75"]["detail"] == RUNS_NOT.reason


def test_weights_that_were_left_out_are_asked_for(bundled: Bundled, ferry: Ferry) -> None:
    bundled(["cuda-sm90"], apart=("weights-0.safetensors",))
    found = findings(ferry)
    assert found["bundle"]["status"] == "fail"
    assert "weights-0.safetensors" in found["bundle"]["detail"]
    assert "--weights DIR" in found["bundle"]["fix"]


def test_a_damaged_bundle_is_an_error_and_no_traceback(
    bundled: Bundled, ferry: Ferry, tmp_path: Path
) -> None:
    bundled(["cuda-sm90"])
    (tmp_path / "bundle.json").write_text("{")
    ended = ferry("doctor")
    assert ended.code == 1
    assert "bundle.json cannot be read" in ended.stderr
