"""RADV compiles for GPUs that are not there, and says what it made of our shaders."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ferrylm.compile.isa import radv
from ferrylm.compile.isa.container import Kernel
from ferrylm.compile.isa.radv import Family, compile_kernels, open_family
from ferrylm.compile.isa.shader_statistics import CompiledKernel, read_statistics
from ferrylm.errors import DeviceError
from tests.support.deck import deck, needs_radv, shader


def compiled(name: str, subgroup: int = 32) -> CompiledKernel:
    (found,) = compile_kernels([shader(name, subgroup)], deck())
    return found


@needs_radv
def test_the_steam_deck_has_subgroups_of_32_and_64_and_packed_bytes() -> None:
    assert deck().subgroups == (32, 64)
    assert "VANGOGH" in deck().device
    assert not deck().missing_features & {"shaderIntegerDotProduct", "shaderFloat16", "shaderInt8"}


@needs_radv
@pytest.mark.parametrize("subgroup", [32, 64])
def test_a_product_by_packed_bytes_takes_a_third_of_the_instructions_of_one_by_floats(
    subgroup: int,
) -> None:
    floats, packed = compiled("gemv_float", subgroup), compiled("gemv_dot", subgroup)
    assert floats.loop_instructions_per_weight is not None
    assert packed.loop_instructions_per_weight is not None
    assert 5.5 < floats.loop_instructions_per_weight < 8
    assert 1.4 < packed.loop_instructions_per_weight < 3
    assert "v_dot4" in packed.assembly
    assert "v_dot4" not in floats.assembly


@needs_radv
@pytest.mark.parametrize("subgroup", [32, 64])
def test_the_hot_loop_loads_what_the_source_says_a_turn_loads(subgroup: int) -> None:
    """16 bytes of weights with 32 floats, or with 32 bytes and two floats."""
    for name, size_bytes in (("gemv_float", 16 + 128), ("gemv_dot", 16 + 32 + 8)):
        statistics = compiled(name, subgroup).statistics
        assert statistics is not None
        assert statistics.hot_loop is not None
        assert statistics.hot_loop.loaded_bytes == size_bytes


@needs_radv
def test_values_that_find_no_register_are_reported_as_spills() -> None:
    statistics = compiled("many_registers").statistics
    assert statistics is not None
    assert statistics.spilled_vector_registers > 50
    assert statistics.vector_registers == 256


@needs_radv
def test_an_array_in_scratch_memory_shows_though_nothing_is_spilled() -> None:
    statistics = compiled("scratch_array").statistics
    assert statistics is not None
    assert statistics.spills == 0
    assert statistics.scratch_bytes >= 320 * 4 * 32


@needs_radv
def test_the_loop_over_columns_is_hot_and_not_the_ones_around_and_behind_it() -> None:
    statistics = compiled("nested_loops").statistics
    assert statistics is not None
    assert statistics.hot_loop is not None
    assert statistics.hot_loop.loaded_bytes == 16
    assert statistics.hot_loop.loops_around == 1
    assert statistics.shared_bytes >= 64 * 4


@needs_radv
def test_a_kernel_that_takes_any_subgroup_is_compiled_at_every_width_of_the_family() -> None:
    rows = compile_kernels([shader("straight", 0)], deck())
    assert [row.subgroup for row in rows] == [32, 64]
    assert all(row.statistics for row in rows)


@needs_radv
def test_a_kernel_that_the_family_cannot_run_says_why_and_the_others_are_compiled() -> None:
    narrow, wide = shader("straight", 8), shader("straight", 32)
    family = Family("vangogh", "a test", (32, 64), frozenset({"shaderInt64"}))
    needy = Kernel("needy", wide.spirv, 32, 16, ("shaderInt64", "cooperativeMatrix"))
    rows = compile_kernels([narrow, needy, wide], family)
    assert [row.refusal for row in rows] == [
        "subgroups of 8 do not exist here, only 32 to 64", "needs shaderInt64", None,
    ]  # fmt: skip
    assert rows[2].statistics is not None


@needs_radv
def test_a_steam_deck_has_no_cooperative_matrices() -> None:
    wide = shader("straight", 32)
    needy = Kernel("needy", wide.spirv, 32, 16, ("cooperativeMatrix",))
    (row,) = compile_kernels([needy], open_family("vangogh"))
    assert row.refusal == "needs cooperativeMatrix"


@needs_radv
def test_a_shader_that_crashes_the_driver_costs_only_its_own_row() -> None:
    """The second instruction's length is 0 words, which Mesa's reader aborts on."""
    good = shader("straight", 32)
    broken = Kernel("broken", good.spirv[:20] + bytes(len(good.spirv) - 20), 32, 16)
    rows = compile_kernels([good, broken, shader("gemv_dot", 64)], deck())
    assert [row.statistics is None for row in rows] == [False, True, False]
    assert "the driver crashed: " in str(rows[1].problem)


@needs_radv
@pytest.mark.parametrize("name", ["gfx1100", "navi21", "polaris10", "raven"])
def test_other_families_that_mesa_knows_compile_the_same_shader(name: str) -> None:
    family = open_family(name)
    (row, *_) = compile_kernels([shader("gemv_float", 0)], family)
    assert row.statistics is not None
    assert row.statistics.hot_loop is not None
    assert row.statistics.hot_loop.loaded_bytes == 144


@needs_radv
def test_an_unknown_family_is_an_error_that_names_it() -> None:
    with pytest.raises(DeviceError, match="family voodoo2"):
        open_family("voodoo2")


def test_a_machine_without_radv_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(radv, "_ICD_FOLDERS", (str(tmp_path),))
    with pytest.raises(DeviceError, match="apt-get install mesa-vulkan-drivers"):
        open_family("vangogh")


def test_a_driver_that_is_never_done_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    os.chmod(sleeper, stat.S_IRWXU)
    (tmp_path / "radeon_icd.json").write_text("{}")
    monkeypatch.setattr(radv, "_ICD_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(radv, "_START_SECONDS", 0.2)
    monkeypatch.setattr("sys.executable", str(sleeper))
    with pytest.raises(DeviceError, match="no answer within"):
        open_family("vangogh")


def test_a_number_that_the_driver_does_not_give_is_never_taken_for_zero() -> None:
    with pytest.raises(DeviceError, match="Spilled VGPRs"):
        read_statistics({"VGPRs": 8, "SGPRs": 8}, "")
