"""The recorded device reports have the form of real ones, and each of its kind's peculiarities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "fixtures" / "vulkan_reports"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def report(name: str) -> dict[str, Any]:
    return load(name)["report"]


def shape(value: Any) -> Any:
    """Return the keys and types of a document, lists by their first element."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize("name", NAMES)
def test_a_report_has_the_form_of_lavapipes_and_says_where_it_comes_from(name: str) -> None:
    recorded = report(name)
    assert shape(recorded | {"extensions": []}) == shape(report("lavapipe") | {"extensions": []})
    assert recorded["features"] == sorted(set(recorded["features"]))
    assert recorded["min_subgroup_size"] <= recorded["subgroup_size"]
    assert recorded["subgroup_size"] <= recorded["max_subgroup_size"]
    assert load(name)["taken_from"]
    assert isinstance(load(name)["assumed"], list)


def test_no_two_reports_share_a_uuid() -> None:
    assert len({report(name)["uuid"] for name in NAMES}) == len(NAMES)


def test_what_makes_each_device_worth_a_test_is_there() -> None:
    deck, polaris, apple = report("steam_deck"), report("radeon_rx580"), report("apple_m1_moltenvk")
    assert (deck["min_subgroup_size"], deck["max_subgroup_size"]) == (32, 64)
    assert [heap["device_local"] for heap in deck["heaps"]] == [False, True]
    assert "shaderFloat16" not in polaris["features"]
    assert not polaris["can_require_subgroup_size"]
    assert "subgroupSizeControl" in apple["features"]
    assert not apple["can_require_subgroup_size"]
    assert "shaderIntegerDotProduct" not in apple["features"]
    assert "subgroupClustered" not in report("lavapipe")["features"]
    assert report("intel_arc_a770")["min_subgroup_size"] == 8
