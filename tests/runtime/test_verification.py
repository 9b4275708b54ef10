"""`verify` passes what is right, and names the kernel of whatever is made wrong on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_artifacts
from artifact_samples import change_manifest
from golden_changes import (
    cases_of,
    change_golden,
    change_number,
    checks_of,
    checks_of_case,
    failed,
    golden_document,
    replace_golden,
)
from kernel_faults import fits

from ferrylm.errors import IntegrityError
from ferrylm.runtime import golden_inputs
from ferrylm.runtime.progress import Progress
from ferrylm.runtime.strict_json import dumps_canonical


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(tiny_artifacts.shared_artifact(), tmp_path / "copy"))


def test_a_right_library_passes_every_check() -> None:
    checks = checks_of(tiny_artifacts.shared_artifact())
    assert failed(checks) == set(), checks
    names = [check.name for check in checks]
    assert names[0] == "tokenizer"
    for kernel in ("embed", "norm_plain", "norm_swiglu", "residual", "rope_attention"):
        for rows in ("prefill", "batch1", "batch2", "batch4", "batch8"):
            assert any(fits(name, f"kernel {kernel}*{rows}") for name in names), (kernel, rows)
    assert "kernel select_row_prefill" in names
    assert {"greedy trace", "greedy trace in one prefill", "greedy trace in batches of 8"} <= set(
        names
    )


def test_progress_counts_every_kernel() -> None:
    seen: list[Progress] = []
    checks = checks_of(tiny_artifacts.shared_artifact(), progress=seen.append)
    kernels = [report for report in seen if report.stage == "kernels"]
    assert kernels[-1].done == kernels[-1].total
    assert kernels[-1].total == sum(check.name.startswith("kernel ") for check in checks)


@pytest.mark.parametrize(
    ("quantization", "arithmetic", "weights"),
    [("q4f16", "f32", "random"), ("q0f32", "f32", "stored")],
)
def test_other_formats_and_arithmetics_pass(
    quantization: str, arithmetic: str, weights: str, tmp_path: Path
) -> None:
    checks = checks_of(tiny_artifacts.compile_tiny(tmp_path, quantization, arithmetic, weights))
    assert failed(checks) == set(), checks
    if weights == "random":
        assert "the weights are random" in checks[-1].detail
        assert checks[-1].name == "prefill against decode"
    else:
        assert any(check.name == "greedy trace" for check in checks)


def test_the_first_differing_element_is_told(artifact: Path) -> None:
    golden = golden_document(artifact)
    case = cases_of(golden, "linear")[0]
    kernels = [kernel for check in checks_of_case(golden, case) for kernel in check["kernels"]]
    # Column 0 is one of those that this prototype stands for; row 5 is in every batch.
    prototype = int(golden_inputs.integers(case["name"] + " order", (72,), 0, 63)[0])
    change_number(case["expected"]["int16"]["values"], (5, prototype), 1.01)
    replace_golden(artifact, dumps_canonical(golden))
    checks = checks_of(artifact)
    assert failed(checks) == {f"kernel {kernel}" for kernel in kernels}
    for check in checks:
        if not check.passed:
            assert check.detail.startswith("cpu-"), check
            assert ", 0] is " in check.detail, check
            assert ", wanted " in check.detail, check


def test_a_wrong_step_of_the_trace_is_named(artifact: Path) -> None:
    def change(golden: Any) -> None:
        golden["trace"]["steps"][7]["logit"] += 1.0

    change_golden(artifact, change)
    checks = {check.name: check for check in checks_of(artifact)}
    trace = checks["greedy trace"]
    assert not trace.passed
    assert "step 7" in trace.detail
    assert not checks["greedy trace in one prefill"].passed


def test_another_token_wins_only_where_the_gap_is_small(artifact: Path) -> None:
    golden = golden_document(artifact)
    step = golden["trace"]["steps"][3]
    step["token"] = (step["token"] + 1) % tiny_artifacts.VOCAB
    replace_golden(artifact, dumps_canonical(golden))
    checks = {check.name: check for check in checks_of(artifact)}
    assert "step 3: token" in checks["greedy trace"].detail
    assert not checks["greedy trace"].passed


def test_an_artifact_without_golden_data_fails_one_check(artifact: Path) -> None:
    change_manifest(artifact, ("golden",), None)
    (check,) = checks_of(artifact)
    assert (check.name, check.passed) == ("golden data", False)
    assert "compile" in check.detail


def test_a_library_that_the_golden_data_does_not_cover_fails(artifact: Path) -> None:
    change_golden(artifact, lambda golden: golden["libraries"].clear())
    checks = checks_of(artifact)
    assert len(failed(checks)) == 1
    assert checks[-1].name.startswith("library cpu-")


def test_another_tokenizer_is_seen(artifact: Path) -> None:
    change_manifest(artifact, ("tokenizer", "probe_sha256"), "0" * 64)
    assert failed(checks_of(artifact)) == {"tokenizer"}


def test_damaged_golden_data_is_refused(artifact: Path) -> None:
    (file,) = artifact.glob("golden-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="golden"):
        checks_of(artifact)
