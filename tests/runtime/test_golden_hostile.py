"""Golden data that lies is refused before it does harm."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_artifacts
from golden_changes import (
    cases_of,
    change_golden,
    change_number,
    checks_of,
    checks_of_case,
    failed,
    golden_document,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrylm.errors import ArtifactError
from ferrylm.runtime.golden_json import parse_golden
from ferrylm.runtime.strict_json import dumps_canonical


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(tiny_artifacts.shared_artifact(), tmp_path / "copy"))


def case_of(golden: Any, operation: str) -> Any:
    return cases_of(golden, operation)[0]


def check_of(golden: Any, operation: str) -> Any:
    return checks_of_case(golden, case_of(golden, operation))[0]


HOSTILE: dict[str, Callable[[Any], object]] = {
    "another format": lambda g: g.update(format="golden"),
    "a later version": lambda g: g.update(version=3),
    "a field too many": lambda g: g.update(extra=1),
    "no cases": lambda g: g.pop("cases"),
    "a case twice": lambda g: g["cases"].append(g["cases"][0]),
    "a target twice": lambda g: g["libraries"].append(g["libraries"][0]),
    "an unknown operation": lambda g: g["cases"][0].update(operation="exec"),
    "an unknown case": lambda g: check_of(g, "linear").update(case="x"),
    "an unknown arithmetic": lambda g: check_of(g, "linear").update(expected="x"),
    "no rows": lambda g: g["cases"][0].update(rows=0),
    "too many rows": lambda g: g["cases"][0].update(rows=10**6),
    "rows as a text": lambda g: g["cases"][0].update(rows="12"),
    "a batch of too many rows": lambda g: check_of(g, "linear").update(batch=65),
    "a function that is not there": lambda g: check_of(g, "linear").update(function="system"),
    "a huge matrix": lambda g: case_of(g, "linear")["matrix"].update(rows=2**31 - 1),
    "a wide matrix": lambda g: case_of(g, "linear")["matrix"].update(columns=2**31 - 1),
    "a huge parameter": lambda g: check_of(g, "linear")["parameters"][0].update(
        shape=[2**20, 2**20]
    ),
    "a negative shape": lambda g: check_of(g, "linear")["parameters"][0].update(shape=[-1]),
    "an unknown type": lambda g: check_of(g, "linear")["parameters"][0].update(dtype="object"),
    "an unknown parameter": lambda g: check_of(g, "linear")["parameters"][0].update(suffix="x"),
    "an unknown packing": lambda g: check_of(g, "linear")["parameters"][0].update(transform="x"),
    "a wide buffer": lambda g: check_of(g, "linear").update(input_width=2**31 - 1),
    "a narrow buffer": lambda g: check_of(g, "linear").update(input_width=1),
    "a larger vocabulary": lambda g: case_of(g, "embed")["matrix"].update(rows=10**6),
    "results of another shape": lambda g: case_of(g, "linear")["expected"]["int16"][
        "values"
    ].update(shape=[64, 12]),
    "too few results": lambda g: case_of(g, "linear")["expected"]["int16"]["values"].update(
        data=""
    ),
    "no base64": lambda g: case_of(g, "linear")["expected"]["int16"]["values"].update(data="?"),
    "results that are NaN": lambda g: change_number(
        case_of(g, "linear")["expected"]["int16"]["values"], (0, 0), float("nan")
    ),
    "a tolerance of everything": lambda g: case_of(g, "linear")["expected"]["int16"].update(
        tolerance=1e9
    ),
    "a case without its keys": lambda g: case_of(g, "rope_decode")["expected"].pop("float16 keys"),
    "attention of no layer": lambda g: case_of(g, "rope_decode").update(
        variant={"window_tokens": 2**31 - 1}
    ),
    "a type that is no type": lambda g: check_of(g, "rope_decode").update(expected="float16 keys"),
    "an empty trace": lambda g: g["trace"].update(steps=[]),
    "a trace beyond the vocabulary": lambda g: g["trace"]["steps"][0].update(token=10**6),
    "a negative token": lambda g: g["trace"]["prompt"].append(-1),
    "a trace beyond the context": lambda g: g["trace"].update(prompt=[1] * 1000),
    "a trace without spread": lambda g: g["trace"]["steps"][0].update(deviation=0.0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_golden_data_is_refused_with(name: str, artifact: Path) -> None:
    change_golden(artifact, HOSTILE[name])
    with pytest.raises(ArtifactError) as caught:
        checks_of(artifact)
    assert len(str(caught.value)) < 600


def test_a_call_that_the_library_refuses_fails_its_kernel(artifact: Path) -> None:
    def change(golden: Any) -> None:
        check = check_of(golden, "linear")
        check["parameters"].pop()

    kernel = check_of(golden_document(artifact), "linear")["kernels"][0]
    change_golden(artifact, change)
    checks = checks_of(artifact)
    assert failed(checks) == {f"kernel {kernel}"}
    assert any("the call failed" in check.detail for check in checks)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_golden_data_with_a_changed_value_is_read_or_refused(
    data: st.DataObject,
) -> None:
    document = copy.deepcopy(golden_document(tiny_artifacts.shared_artifact()))
    holder, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.integers(0, 9)):
        holder = holder[key]
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(keys))
    junk = st.sampled_from([None, True, -1, 0, 2**63, 1.5, "", "x" * 99, [], {}, [[]], 1e300])
    holder[key] = data.draw(junk)
    with contextlib.suppress(ArtifactError):  # nothing else may be raised
        parse_golden(dumps_canonical(document), "golden.json")
