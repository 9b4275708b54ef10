from __future__ import annotations

import collections
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "trace_launches", ROOT / "scripts" / "trace_launches.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trace_launches"] = module
    spec.loader.exec_module(module)
    return module


def test_calls_of_all_versions_of_a_function_are_counted_together(script: ModuleType) -> None:
    calls = collections.Counter({"cuGraphLaunch": 6, "cuGraphLaunch_ptsz": 2, "cuEventQuery": 16})
    assert script.per_token(calls, 8) == {"cuEventQuery": 2.0, "cuGraphLaunch": 1.0}


@pytest.mark.parametrize(
    ("rates", "well"),
    [
        ({"cuGraphLaunch": 1.0, "cuMemcpyDtoHAsync": 1.0}, True),
        ({"cuGraphLaunch": 2.0}, False),
        ({"cuGraphLaunch": 1.0, "cuLaunchKernelEx": 0.5}, False),
        ({"cuLaunchKernel": 168.0}, False),
        ({}, False),
    ],
)
def test_a_token_is_one_graph_launch_and_no_other(
    script: ModuleType, rates: dict[str, float], well: bool
) -> None:
    assert script.one_launch(rates) is well


def test_without_cupti_it_says_what_to_install(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FERRY_CUPTI", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install nvidia-cuda-cupti"):
        script.find_cupti()
