from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.compile.cuda.memory_cases import MEMORY_CASES, MemoryCase
from tests.compile.cuda.operation_cases import OperationCase
from tests.compile.cuda.operation_table import OPERATION_CASES
from tests.support.cuda_emulator.runner import Program, build, run_in_place

CASES: tuple[OperationCase | MemoryCase, ...] = (*OPERATION_CASES, *MEMORY_CASES)


@cache
def emulated(arch: str) -> Program:
    return build({case.symbol: case.kernel() for case in CASES}, arch)


@pytest.mark.parametrize("arch", ["75", "80", "90a"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_operation_answers_as_numpy_does(case: OperationCase | MemoryCase, arch: str) -> None:
    inputs = case.arrays()
    wanted = case.reference(*inputs).astype(case.output[0])
    out = np.zeros(wanted.size, wanted.dtype)
    arrays = [array.reshape(-1) for array in inputs]
    for backward in (False, True):
        found = run_in_place(emulated(arch)[case.symbol], [*arrays, out], backward=backward)[-1]
        difference = np.abs(found.astype(np.float64) - wanted.reshape(-1).astype(np.float64))
        assert difference.max() <= case.tolerance
