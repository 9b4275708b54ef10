"""`verify` passes what is right, and names the kernel of whatever is made wrong on purpose."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_artifacts
from artifact_samples import change_manifest
from golden_changes import change_golden, change_number, golden_document, replace_golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_faults import fits, inject, nodes, shorter, stores
from tvm import tirx
from tvm.ir.expr import TensorLoad
from tvm_ffi import structural_map

from ferrylm.errors import ArtifactError, FerryError, IntegrityError
from ferrylm.runtime import attention_replay, golden_inputs
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.golden_json import parse_golden
from ferrylm.runtime.progress import Progress
from ferrylm.runtime.strict_json import dumps_canonical
from ferrylm.runtime.verification import Check, verify


def checks_of(path: Path, **options: Any) -> list[Check]:
    with Artifact.open(path) as artifact:
        return verify(artifact, threads=1, **options)


def failed(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if not check.passed}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifacts.compile_tiny(tmp_path_factory.mktemp("int16"))


@pytest.fixture
def artifact(built: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_a_right_library_passes_every_check(built: Path) -> None:
    checks = checks_of(built)
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


def test_progress_counts_every_kernel(built: Path) -> None:
    seen: list[Progress] = []
    checks = checks_of(built, progress=seen.append)
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


def int_value(expression: Any) -> int | None:
    return int(expression) if isinstance(expression, tirx.IntImm) else None


def last_group_negative(value: Any) -> Any:
    """Turn the sign of what the last of three groups adds to an accumulator."""
    loads: list[Any] = []
    structural_map(value.b, (TensorLoad, lambda load: loads.append(load) or load))
    group = next(load.indices[1] for load in loads if str(load.source.name) == "scale")
    return value.a + tirx.Select(tirx.EQ(group, 2), -value.b, value.b)


def small_mask(node: Any) -> Any:
    return tirx.IntImm(str(node.ty.dtype), 7)


def of_first_group(load: Any) -> Any:
    return tirx.BufferLoad(load.source, [load.indices[0], 0, load.indices[2]])


def masks(change: Any) -> Any:
    return nodes(tirx.Select, lambda n: "positions" in str(n.condition), change)


# Pattern of a kernel's name -> what is done to it: each a mistake that a schedule may hold.
FAULTS = {
    "embed*batch1": stores("scale[", lambda value: -value),
    "embed*batch4": nodes(TensorLoad, lambda n: str(n.source.name) == "scale", of_first_group),
    "norm_swiglu*batch1": nodes(tirx.IntImm, lambda n: int(n) == 15, small_mask),
    "norm_plain*160x72_batch1": stores("scale[", last_group_negative),
    "norm_plain*160x72_batch2": stores("nearbyint", lambda value: value + 1),
    "norm_plain*283x72_batch4": nodes(
        tirx.FloatImm,
        lambda n: abs(n.value - 1e-5) < 1e-8,
        lambda n: tirx.FloatImm("float32", 0.01),
    ),
    "residual*72x104_batch2": shorter(
        lambda loop: int_value(loop.extent) == 4 and "scale[" in str(loop)
    ),
    "residual*72x96_batch1": stores("residual[", lambda value: value.a),
    "norm_swiglu*batch2": shorter(lambda loop: loop.kind == tirx.ForKind.PARALLEL),
    "rope_attention*batch1": stores(
        "sin[", lambda value: value.a + value.b if isinstance(value, tirx.Sub) else value
    ),
    "rope_attention*batch2": masks(
        lambda n: tirx.Select(n.condition.a <= n.condition.b + 1, n.true_value, n.false_value)
    ),
    "rope_attention*batch4": masks(
        lambda n: tirx.Select(n.condition.a < n.condition.b, n.true_value, n.false_value)
    ),
    "rope_attention_prefill": stores(
        "where[2] =", lambda value: tirx.FloorMod(value.a + 1, value.b)
    ),
    "select_row_prefill": stores(
        "row[", lambda value: tirx.BufferLoad(value.source, [0, value.indices[1]])
    ),
}


def test_each_wrong_kernel_is_named_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = inject(monkeypatch, FAULTS)
    checks = checks_of(tiny_artifacts.compile_tiny(tmp_path, arithmetic="int8"))
    kernels = {name for name in failed(checks) if name.startswith("kernel ")}
    assert kernels == {f"kernel {name}" for name in changed.values()}
    assert "greedy trace" in failed(checks)


def test_the_first_differing_element_is_told(artifact: Path) -> None:
    golden = golden_document(artifact)
    case, kernels = case_of(golden, "linear"), kernels_of(golden, "linear")[0]
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


def kernels_of(golden: Any, operation: str) -> list[list[str]]:
    """Return the kernels of each case of an operation."""
    names = [case["name"] for case in golden["cases"] if case["operation"] == operation]
    checks = golden["libraries"][0]["checks"]
    return [[k for c in checks if c["case"] == name for k in c["kernels"]] for name in names]


def test_weights_packed_in_the_wrong_order_fail_every_kernel_that_uses_them(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Executable.transform

    def swapped(self: Executable, name: str) -> Callable[..., None]:
        pack = original(self, name)

        def run(source: Any, target: Any) -> None:
            codes = np.from_dlpack(source)
            if codes.dtype == np.uint8:
                codes[...] = codes >> 4 | codes << 4
            pack(source, target)

        return run

    monkeypatch.setattr(Executable, "transform", swapped)
    checks = checks_of(built)
    wrong = failed(checks)
    kernels = [k for group in kernels_of(golden_document(built), "linear") for k in group]
    assert {f"kernel {kernel}" for kernel in kernels} < wrong
    assert any(name.startswith("kernel norm_swiglu") for name in wrong)
    assert not any("rope" in name or "select" in name or "q8" in name for name in wrong)
    details = [check.detail for check in checks if "residual" in check.name]
    assert all("packed by pack_" in detail for detail in details), details
    assert "greedy trace" in wrong


def test_rope_tables_that_turn_the_other_way_fail_attention_alone(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = attention_replay.rope_tables

    def backwards(*arguments: Any) -> Any:
        cosines, sines = original(*arguments)
        return cosines, -sines

    monkeypatch.setattr(attention_replay, "rope_tables", backwards)
    wrong = failed(checks_of(built))
    assert len(wrong) == 5
    assert all(name.startswith("kernel rope_attention") for name in wrong)


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


def check_of(golden: Any, operation: str) -> Any:
    names = {case["name"] for case in golden["cases"] if case["operation"] == operation}
    return next(c for c in golden["libraries"][0]["checks"] if c["case"] in names)


def case_of(golden: Any, operation: str) -> Any:
    return next(case for case in golden["cases"] if case["operation"] == operation)


HOSTILE: dict[str, Callable[[Any], object]] = {
    "another format": lambda g: g.update(format="golden"),
    "a later version": lambda g: g.update(version=2),
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
    "a batch beyond the rows": lambda g: check_of(g, "linear").update(batch=13),
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
    built: Path, data: st.DataObject
) -> None:
    document = copy.deepcopy(golden_document(built))
    holder, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.integers(0, 9)):
        holder = holder[key]
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(keys))
    junk = st.sampled_from([None, True, -1, 0, 2**63, 1.5, "", "x" * 99, [], {}, [[]], 1e300])
    holder[key] = data.draw(junk)
    try:
        parse_golden(dumps_canonical(document), "golden.json")
    except FerryError as error:
        assert isinstance(error, ArtifactError)
        assert "golden.json" in str(error)
