"""`ferry inspect --isa`: what the Steam Deck would execute, or how to find out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from artifact_samples import add_sample_files, library
from cli_fakes import Ferry

from ferrylm.compile.artifact_writer import ArtifactWriter
from ferrylm.compile.isa import radv
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.devices import Machine
from ferrylm.runtime.manifest import Requirements, VulkanNeeds
from tests.support.deck import SHADERS, container, container_entry, needs_radv


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Machine(HostCpu("x86_64", frozenset({"avx2", "fma"}), "Some CPU", 4, 2))
    monkeypatch.setattr("ferrylm.cli.inspect_report.this_machine", lambda _kinds: found)


@pytest.fixture
def with_vulkan(tmp_path: Path) -> Path:
    """Return an artifact with a Vulkan library of one product at two widths."""
    spirv = (SHADERS / "gemv_dot.spv").read_bytes()
    code = b"\x7fELF" + container(
        spirv,
        container_entry(
            spirv, name="matvec_wide", arguments=["handle"] * 6, loop_weights=32, lane_weights=640
        ),
        container_entry(spirv, name="matvec_narrow", arguments=["handle"] * 6, subgroup_size=8),
    )
    with ArtifactWriter(tmp_path / "vulkan") as writer:
        manifest = add_sample_files(writer)
        needs = Requirements("x86_64", (), vulkan=VulkanNeeds("1.2", (), (32,), {}))
        vulkan = library(
            writer.add_bytes("vulkan", ".so", code), "vulkan-subgroup32-dot", requires=needs
        )
        writer.commit(replace(manifest, libraries=(*manifest.libraries, vulkan)))
    return tmp_path / "vulkan"


@needs_radv
def test_the_table_has_a_row_for_what_runs_and_a_line_for_what_does_not(
    ferry: Ferry, with_vulkan: Path
) -> None:
    ended = ferry("inspect", str(with_vulkan), "--isa")
    assert ended.code == 0, ended.stderr
    assert "vulkan-subgroup32-dot on Null hardware (RADV VANGOGH)" in ended.stdout
    (row,) = (line.split() for line in ended.stdout.splitlines() if line.startswith("matvec_wide"))
    assert row[:2] == ["matvec_wide", "32"]
    assert 1 < float(row[-2]) < float(row[-1]) < 3
    assert "matvec_narrow: subgroups of 8 do not exist here, only 32 to 64" in ended.stdout


@needs_radv
def test_json_has_the_same_numbers(ferry: Ferry, with_vulkan: Path) -> None:
    (report,) = ferry("inspect", str(with_vulkan), "--isa", "--json").document["isa"]
    wide, narrow = report["kernels"]
    assert wide["statistics"]["spilled_vector_registers"] == 0
    per_turn = wide["statistics"]["hot_loop"]["instructions"]
    assert wide["loop_instructions_per_weight"] == per_turn / 32
    assert narrow["statistics"] is None
    assert "isa" not in ferry("inspect", str(with_vulkan), "--json").document


def test_a_machine_without_radv_is_told_how_to_get_it(
    ferry: Ferry, with_vulkan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radv, "_ICD_FOLDERS", ())
    ended = ferry("inspect", str(with_vulkan), "--isa")
    assert ended.code == 1
    assert "RADV driver is not installed" in ended.stderr
    assert "apt-get install mesa-vulkan-drivers" in ended.stderr


def test_an_artifact_without_vulkan_needs_no_driver(
    ferry: Ferry, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radv, "_ICD_FOLDERS", ())
    ended = ferry("inspect", str(artifact), "--isa")
    assert ended.code == 0, ended.stderr
    assert "no library here has Vulkan kernels" in ended.stdout
