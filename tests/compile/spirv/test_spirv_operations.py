"""Every operation, type and number of lanes of the table, on the device, beside numpy.

Cases are compiled in batches, because the host's part of a module costs more than its kernels;
each is validated, run and judged by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from spirv_case_table import CASES, CASTS
from spirv_cases import Case, Cast
from spirv_domains import COUNT, arguments
from spirv_kernels import elementwise
from spirv_run import FULL, PLAIN, Built, build, build_all, check_valid, run

from ferrylm.errors import CompileError

BATCH = 32
OPTIONS = {"full": FULL, "plain": PLAIN}

# Without options of the target only halves are treated in another way.
JUDGED: tuple[tuple[Case | Cast, str], ...] = (
    *((case, "full") for case in CASES),
    *((case, "plain") for case in CASES if case.dtype == "float16"),
    *((cast, "full") for cast in CASTS),
    *((cast, "plain") for cast in CASTS if "float16" in (cast.dtype, cast.result)),
)


def function_of(case: Case | Cast) -> Any:
    return elementwise(case.build, case.inputs, case.result, COUNT, case.lanes)


@cache
def batch(options: str, number: int) -> Built | None:
    """Return a batch, or None if not all of it compiles."""
    chosen = [position for position, each in enumerate(JUDGED) if each[1] == options]
    mine = chosen[number * BATCH : (number + 1) * BATCH]
    functions = {f"case{position}": function_of(JUDGED[position][0]) for position in mine}
    try:
        return build_all(functions, OPTIONS[options])
    except CompileError:
        return None


def results(device: Any, position: int, arrays: Sequence[np.ndarray]) -> np.ndarray:
    case, options = JUDGED[position]
    before = sum(each[1] == options for each in JUDGED[:position])
    built, name = batch(options, before // BATCH), f"case{position}"
    if built is None:
        built, name = build(function_of(case), OPTIONS[options]), "main"
    check_valid(built, name)
    return run(built, device, arrays, name)[-1]


def expected(case: Case | Cast, inputs: Sequence[np.ndarray]) -> np.ndarray:
    with np.errstate(all="ignore"):
        if case.dtype in ("float16", "float32") and isinstance(case, Case):
            return np.asarray(case.reference(*(each.astype(np.float64) for each in inputs)))
        return np.asarray(case.reference(*inputs))


def assert_close(found: np.ndarray, wanted: np.ndarray, ulps: float, absolute: float) -> None:
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted.astype(found.dtype))
        return
    with np.errstate(all="ignore"):
        rounded = wanted.astype(found.dtype)
        error = np.abs(found.astype(np.float64) - wanted)
    special = ~np.isfinite(rounded)
    np.testing.assert_array_equal(found[special], rounded[special])
    if not ulps and not absolute:
        np.testing.assert_array_equal(found, rounded)
        return
    limits = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        unit = np.maximum(np.abs(wanted), float(limits.tiny)) * float(limits.eps)
        bad = ~special & ~(error <= unit * ulps + absolute)
    assert not bad.any(), f"{found[bad][:4]} where {wanted[bad][:4]} is right"


@pytest.mark.parametrize(
    "position", range(len(JUDGED)), ids=[f"{case.name}-{options}" for case, options in JUDGED]
)
def test_it_gives_what_numpy_gives(vulkan: Any, position: int) -> None:
    case = JUDGED[position][0]
    inputs = arguments(case.domain, case.dtype, len(case.inputs), case.name)
    found = results(vulkan, position, [*inputs, np.zeros(COUNT, case.result)])
    assert_close(found, expected(case, inputs), case.ulps, case.absolute)


def test_the_table_has_at_least_300_cases_and_no_name_twice() -> None:
    names = [case.name for case in CASES] + [cast.name for cast in CASTS]
    assert len(names) >= 300
    assert len(set(names)) == len(names)


def test_a_wrong_result_is_noticed() -> None:
    with pytest.raises(AssertionError):
        assert_close(np.float32([1.0]), np.array([1.0 + 1e-6]), 2, 0)
    with pytest.raises(AssertionError):
        assert_close(np.float32([np.nan]), np.array([1.0]), 2, 1)
