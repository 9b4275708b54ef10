from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from cli_fakes import Ferry

from ferrylm.cli import doctor_checks, doctor_probe
from ferrylm.cli.doctor import thread_counts
from ferrylm.cli.doctor_checks import FAIL, OK, WARN
from ferrylm.cli.doctor_probe import GpuKind, Probe
from ferrylm.errors import MemoryLimitError
from ferrylm.runtime.bandwidth import ReadBandwidth

GOOD = Probe(
    tvm_version="0.27.0.post1",
    tvm_ffi_version="0.1.15",
    tvm_problem=None,
    has_compiler=True,
    backend_entry_points=("ferrylm_vulkan",),
    backend_problems=(),
    gpus={"cuda": GpuKind(problem="no libcuda.so.1"), "rocm": GpuKind(problem="no ROCm")},
    vulkan_problem="not built",
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes time: the measurement and the child process."""
    monkeypatch.setattr(
        "ferrylm.runtime.bandwidth.measure_read_bandwidth",
        lambda threads: ReadBandwidth(threads, threads * 20e9, 1 << 28, "fake"),
    )
    monkeypatch.setattr("ferrylm.cli.doctor_probe.probe_in_child", lambda: GOOD)


def test_the_probe_of_this_environment_finds_tvm() -> None:
    found = doctor_probe.probe_in_child()
    assert found.tvm_problem is None
    assert found.tvm_version is not None
    assert found.tvm_version.startswith("0.27.")
    assert set(found.gpus) == {"cuda", "rocm"}
    assert all(one.devices or one.problem for one in found.gpus.values())
    assert found.verdicts == ()
    assert isinstance(found.backend_problems, tuple)
    assert (found.vulkan is None) == bool(found.vulkan_problem)


def test_the_runtime_library_alone_has_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_USE_RUNTIME_LIB", "1")
    found = doctor_probe.probe_in_child()
    assert found.tvm_problem is None
    assert not found.has_compiler
    assert doctor_checks.check_compiler(found)[0].status == WARN


@pytest.mark.parametrize("kind", ["crash", "hang"])
def test_a_crash_while_loading_is_a_finding(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if kind == "hang":
            raise subprocess.TimeoutExpired(command, 1)
        return subprocess.CompletedProcess(command, -11, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    found = doctor_probe.probe_in_child()
    lines = doctor_checks.check_versions(found)
    assert lines[-1].status == FAIL
    assert lines[-1].fix
    assert ("-11" if kind == "crash" else "did not end") in lines[-1].detail


def test_a_failed_backend_is_shown_because_tvm_only_warns() -> None:
    broken = replace(GOOD, backend_problems=("Failed to autoload tvm backend 'x': no lib",))
    (line,) = doctor_checks.check_backends(broken)
    assert (line.status, line.detail) == (FAIL, broken.backend_problems[0])
    assert doctor_checks.check_backends(GOOD)[0].detail == "ferrylm_vulkan"


def test_another_tvm_is_a_warning_with_a_fix() -> None:
    line = next(
        line
        for line in doctor_checks.check_versions(replace(GOOD, tvm_version="0.28.0"))
        if line.name == "tvm"
    )
    assert line.status == WARN
    assert "apache-tvm==0.27.*" in line.fix


def test_a_missing_linker_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "installed", lambda name: name != "ziglang")
    line = doctor_checks.check_compiler(GOOD)[1]
    assert (line.status, line.detail) == (WARN, "ziglang not installed")
    assert "ferrylm[compile]" in line.fix


def test_little_memory_or_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "LOW_MEMORY_BYTES", 1 << 60)
    monkeypatch.setattr(doctor_checks, "LOW_DISK_BYTES", 1 << 60)
    for line in (*doctor_checks.check_memory(), *doctor_checks.check_disk()):
        assert line.status == WARN
        assert line.fix


def test_a_bandwidth_that_cannot_be_measured_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(threads: int) -> ReadBandwidth:
        raise MemoryLimitError("1 MiB", wanted="more", fix="close programs")

    monkeypatch.setattr("ferrylm.runtime.bandwidth.measure_read_bandwidth", refuse)
    (line,) = doctor_checks.check_bandwidth([1, 2])
    assert (line.status, line.fix) == (WARN, "close programs")


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])],
)
def test_thread_counts_end_at_the_cores(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts


@pytest.mark.usefixtures("quick")
def test_doctor_prints_a_line_for_each_finding(ferry: Ferry) -> None:
    ended = ferry("doctor")
    assert ended.code == 0, ended.stdout
    lines = ended.stdout.splitlines()
    assert all(line.startswith(("ok ", "warn ", "    ")) for line in lines)
    for name in ("python", "tvm", "tvm-ffi", "compiler", "cpu", "memory", "disk here", "vulkan",
                 "read bandwidth, 1 thread"):  # fmt: skip
        assert any(line[6:].startswith(name) for line in lines), name


@pytest.mark.usefixtures("quick")
def test_a_failure_makes_the_exit_code_1(ferry: Ferry, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(GOOD, backend_problems=("it broke",))
    monkeypatch.setattr("ferrylm.cli.doctor_probe.probe_in_child", lambda: broken)
    ended = ferry("doctor")
    assert ended.code == 1
    assert "it broke" in ended.stdout
    assert "fix: " in ended.stdout


@pytest.mark.usefixtures("quick")
def test_json_has_the_same_findings(ferry: Ferry) -> None:
    document = ferry("doctor", "--json").document
    assert document["ok"] is True
    assert {line["status"] for line in document["checks"]} <= {OK, WARN, FAIL}
    tvm = next(line for line in document["checks"] if line["name"] == "tvm")
    assert tvm == {"name": "tvm", "status": OK, "detail": "0.27.0.post1", "fix": ""}
    python = next(line for line in document["checks"] if line["name"] == "python")
    assert sys.executable in python["detail"]
