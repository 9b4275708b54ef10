"""The table of AMD architectures and the choice among compiled ones."""

from __future__ import annotations

import pytest

from ferrylm.compile.rocm.architectures import (
    ARCHITECTURES,
    DEFAULT_NAMES,
    Architecture,
    architectures,
    serving,
)
from ferrylm.errors import UsageError


@pytest.mark.parametrize(
    ("chip", "entry"),
    [
        *[("gfx1033", "gfx10-3-generic"), ("gfx1035", "gfx10-3-generic")],
        *[("gfx1036", "gfx10-3-generic"), ("gfx1103", "gfx11-generic"), ("gfx1100", "gfx1100")],
        *[("gfx90a", "gfx90a"), ("gfx942", "gfx942"), ("gfx950", "gfx9-4-generic")],
        *[("gfx900", "gfx9-generic"), ("gfx1010", "gfx10-1-generic"), ("gfx803", None)],
    ],
)
def test_the_default_list_serves_each_chip_with_its_own_code_or_its_family(
    chip: str, entry: str | None
) -> None:
    assert serving(chip, DEFAULT_NAMES) == entry


def test_rdna_has_waves_of_32_and_everything_older_of_64() -> None:
    for name, arch in ARCHITECTURES.items():
        assert arch.wave == (64 if name.startswith("gfx9") else 32), name


def test_families_are_code_object_version_6_and_chips_5() -> None:
    for name, arch in ARCHITECTURES.items():
        assert arch.code_object_version == (6 if name.endswith("-generic") else 5)


def test_no_two_architectures_share_a_machine_number() -> None:
    assert len({arch.machine for arch in ARCHITECTURES.values()}) == len(ARCHITECTURES)


def test_a_family_never_has_an_instruction_that_a_known_member_lacks() -> None:
    for family in (arch for arch in ARCHITECTURES.values() if arch.is_generic):
        for member in (ARCHITECTURES[m] for m in family.members if m in ARCHITECTURES):
            assert family.dot in ("none", member.dot)
            assert (family.wave, family.lanes) == (member.wave, member.lanes)
            assert family.lds_bytes <= member.lds_bytes


def test_names_are_taken_once_in_order_and_families_by_their_short_name() -> None:
    chosen = architectures(["gfx11", "gfx90a", "gfx11-generic"])
    assert [arch.name for arch in chosen] == ["gfx11-generic", "gfx90a"]


@pytest.mark.parametrize("names", [["gfx1100", "gfx9999"], [], ["sm_90"]])
def test_unknown_names_are_usage_errors(names: list[str]) -> None:
    with pytest.raises(UsageError, match="gfx1100"):
        architectures(names)


def test_an_architecture_that_contradicts_itself_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="lanes"):
        Architecture("gfx1", 64, 1, "none", "rdna")
    with pytest.raises(ValueError, match="wave"):
        Architecture("gfx1", 16, 1, "none", "gcn")
