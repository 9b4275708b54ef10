from __future__ import annotations

from collections import defaultdict

import pytest

from ferrylm.compile.cuda.launch_order import DEPENDENT_LAUNCH
from ferrylm.compile.cuda.operations import OPERATIONS
from ferrylm.compile.cuda.resources import kernel_resources
from ferrylm.errors import CompileError
from tests.compile.cuda.cuda_builds import build_kernels, build_library, sources
from tests.compile.cuda.memory_cases import MEMORY_CASES, dependent_copy
from tests.compile.cuda.operation_cases import OperationCase, call
from tests.compile.cuda.operation_table import OPERATION_CASES
from tests.compile.cuda.warpgroup_case import warpgroup_operations

Mnemonics = dict[str, dict[str, dict[str, int]]]


@pytest.fixture(scope="module")
def mnemonics() -> Mnemonics:
    """Return the instructions of every case's kernel, by kernel and architecture."""
    functions = [case.kernel() for case in (*OPERATION_CASES, *MEMORY_CASES)]
    _, built = build_library(functions, "75", "80", "90a")
    found: Mnemonics = defaultdict(dict)
    for kernel in kernel_resources(built.code):
        found[kernel.kernel][kernel.architecture] = kernel.mnemonics
    return found


@pytest.mark.parametrize("case", [*OPERATION_CASES, *MEMORY_CASES], ids=lambda case: case.name)
def test_an_operation_is_the_instruction_that_the_chip_has_for_it(
    case: OperationCase, mnemonics: Mnemonics
) -> None:
    kernels = mnemonics[case.symbol + "_kernel"]
    assert set(kernels) == {"sm_75", "sm_80", "sm_90a"}
    wanted = {word for word in case.instruction.split("|") if word}
    assert not wanted or wanted & set(kernels["sm_90a"])


def test_every_operation_of_the_table_has_a_case() -> None:
    tested = {case.operation or case.name for case in OPERATION_CASES}
    for case in MEMORY_CASES:
        tested |= case.operations
    tested |= warpgroup_operations()
    assert tested == set(OPERATIONS)


def test_packed_halves_are_multiplied_by_one_instruction(mnemonics: Mnemonics) -> None:
    kernel = mnemonics["check_half2_fma_kernel"]["sm_75"]
    assert kernel["HFMA2"] == 1
    assert not {"PRMT", "FFMA"} & set(kernel)


def test_a_vector_argument_and_result_stay_whole() -> None:
    case = next(case for case in OPERATION_CASES if case.name == "mma_m16n8k16_f16")
    text = sources(build_kernels([case.kernel()]))[""]
    body = text[text.rindex("check_") :]
    assert body.count("ferrylm_mma_m16n8k16_f16(") == 1
    assert "__global__" not in body


def test_an_operation_without_a_body_is_named_with_those_that_there_are() -> None:
    case = OperationCase(
        "unknown", (), ("uint32", 1), lambda a, b, c: call("square_root_of_two", "uint32"),
        lambda a, b, c: a,
    )  # fmt: skip
    with pytest.raises(CompileError, match=r"ferrylm\.square_root_of_two.*wanted.*dot4_i8"):
        build_kernels([case.kernel()])


def test_a_kernel_that_waits_may_not_read_early() -> None:
    """`__restrict__` would let the compiler move a load before the wait for the kernel before."""
    text = sources(build_kernels([dependent_copy("waits", wait=True), dependent_copy("first")]))[""]
    signatures = [line for line in text.splitlines() if line.startswith('extern "C" __global__')]
    assert len(signatures) == 4  # each is declared and defined
    for line in signatures:
        assert ("__restrict__" in line) == ("first_kernel" in line)


def test_a_kernel_that_may_start_early_and_never_waits_is_refused() -> None:
    hasty = dependent_copy("hasty").with_attr("tirx.kernel_launch_params", [DEPENDENT_LAUNCH])
    with pytest.raises(CompileError, match=r"hasty_kernel may start before.*grid_dependency_wait"):
        build_kernels([hasty])


def test_a_kernel_without_operations_gets_no_prelude() -> None:
    assert "FERRYLM" not in sources(build_kernels([dependent_copy("first")]))[""]
