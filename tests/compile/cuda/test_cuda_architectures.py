from __future__ import annotations

import pytest

from ferrylm.compile.cuda.architectures import (
    DEFAULT_ARCHITECTURES,
    body_for,
    parse_architecture,
    parse_architectures,
)
from ferrylm.compile.cuda.tiers import TIERS, chips_of
from ferrylm.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name"),
    [("80", "sm_80"), ("90a", "sm_90a"), ("sm_100f", "sm_100f"), ("compute_75", "compute_75")],
)
def test_an_architecture_is_understood_with_and_without_its_prefix(text: str, name: str) -> None:
    assert parse_architecture(text).name == name


@pytest.mark.parametrize("text", ["", "70", "sm_", "90b", "gfx90a", "1000000", "90 a", "-80"])
def test_what_is_no_architecture_of_cuda_13_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--cuda-arch"):
        parse_architecture(text)


def test_the_order_and_repetition_of_a_list_do_not_matter() -> None:
    forward = parse_architectures(["90a", "80", "compute_75"])
    assert forward == parse_architectures(["compute_75", "sm_80", "80", "90a"])
    assert [arch.name for arch in forward] == ["sm_80", "sm_90a", "compute_75"]


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(UsageError, match="one at least"):
        parse_architectures([])


@pytest.mark.parametrize("chip", [75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121, 130])
def test_the_default_list_leaves_no_chip_without_code(chip: int) -> None:
    assert any(arch.runs_on(chip) for arch in parse_architectures(DEFAULT_ARCHITECTURES))


@pytest.mark.parametrize("chip", [75, 80, 86, 87, 89, 90, 100, 103, 120, 121])
def test_the_default_list_has_machine_code_for_every_chip_of_its_families(chip: int) -> None:
    assert any(a.runs_on(chip) for a in parse_architectures(DEFAULT_ARCHITECTURES) if not a.ptx)


@pytest.mark.parametrize(
    ("name", "chip", "runs"),
    [
        ("80", 86, True), ("86", 80, False), ("80", 90, False), ("90a", 90, True),
        ("90a", 100, False), ("compute_75", 120, True), ("compute_90", 80, False),
        ("100f", 103, True), ("100f", 120, False),
    ],
)  # fmt: skip
def test_code_runs_on_later_chips_of_its_major_version_only(
    name: str, chip: int, runs: bool
) -> None:
    assert parse_architecture(name).runs_on(chip) is runs


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("75", ""), ("80", "80"), ("86", "80"), ("90a", "90a"), ("90", "80"), ("100", "80"),
        ("compute_75", ""), ("compute_90", "80"),
    ],
)  # fmt: skip
def test_an_architecture_gets_the_nearest_body_that_it_can_run(name: str, body: str) -> None:
    assert body_for(parse_architecture(name), ("", "80", "90a")) == body


def test_each_architecture_of_the_default_list_is_in_one_tier() -> None:
    tiers = {name: [arch.name for arch in chips_of(name)] for name in TIERS}
    assert tiers == {
        "sm90": ["sm_90a", "sm_100", "sm_120", "compute_90"],
        "sm75": ["sm_75", "sm_80", "sm_86", "sm_89", "compute_75"],
    }


def test_a_tier_without_a_chip_of_the_list_is_empty() -> None:
    assert chips_of("sm90", ("80", "compute_75")) == ()


def test_kernels_start_early_only_where_every_chip_can_wait() -> None:
    for tier in TIERS.values():
        assert tier.profile.overlap == (tier.first >= 90)


def test_a_chip_that_runs_two_tiers_takes_the_newer() -> None:
    newest_first = sorted(TIERS.values(), key=lambda tier: -tier.first)
    preferences = [tier.preference for tier in newest_first]
    assert preferences == sorted(preferences, reverse=True)
