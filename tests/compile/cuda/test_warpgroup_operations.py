from __future__ import annotations

import numpy as np
import pytest

from ferrylm.compile.cuda.operations_warpgroup import WARPGROUP
from ferrylm.compile.cuda.resources import kernel_resources
from tests.compile.cuda.cuda_builds import build_library
from tests.compile.cuda.warpgroup_case import (
    COLUMNS,
    ROWS,
    matrices,
    warpgroup_kernel,
    warpgroup_operations,
)
from tests.support.cuda_emulator.launches import EmulationError
from tests.support.cuda_emulator.runner import build, run


def test_the_kernel_calls_every_operation_of_warpgroups() -> None:
    assert {one.name for one in WARPGROUP} <= warpgroup_operations()


@pytest.mark.parametrize("backward", [False, True])
def test_warpgroups_copy_wait_and_multiply_as_numpy_does(backward: bool) -> None:
    words, wanted = matrices()
    kernel = build({"warpgroups": warpgroup_kernel()})["warpgroups"]
    (found,) = run(kernel, [words], [((ROWS, COLUMNS), "float32")], backward=backward)
    np.testing.assert_array_equal(found, wanted)  # small whole numbers: nothing rounds


def test_other_chips_stop_instead_of_giving_nonsense() -> None:
    words, _ = matrices()
    kernel = build({"warpgroups": warpgroup_kernel()}, "90")["warpgroups"]
    with pytest.raises(EmulationError, match="trap"):
        run(kernel, [words], [((ROWS, COLUMNS), "float32")])


def test_warpgroups_have_instructions_of_their_own() -> None:
    _, built = build_library([warpgroup_kernel()], "90a", "80")
    found = {one.architecture: one.mnemonics for one in kernel_resources(built.code)}
    here = found["sm_90a"]
    assert here["HGMMA"] == 3
    assert here["WARPGROUP"] == 2, "products wait for one another only where the kernel says so"
    assert here["USETMAXREG"] == 2
    assert "HGMMA" not in found["sm_80"]
    assert "BPT" in found["sm_80"]
