"""The golden data is right by another reference, and the same whoever computes it."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import tiny_artifacts

from ferrylm.compile import golden_cases, golden_trace
from ferrylm.compile.golden import WeightTap, build_golden
from ferrylm.compile.golden_cases import kernel_case
from ferrylm.compile.golden_functions import CheckFunction
from ferrylm.compile.golden_recording import Operation, RecordingKernels
from ferrylm.compile.golden_reference import (
    attend,
    decode,
    norm_factors,
    product,
    rope_frequencies,
    rotate,
    silu,
)
from ferrylm.compile.golden_trace import greedy_trace
from ferrylm.errors import CompileError
from ferrylm.runtime import golden_inputs as inputs
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.golden_format import GoldenMatrix, array_values, golden_array
from ferrylm.runtime.golden_json import golden_bytes, parse_golden
from tests import reference
from tests.tiny_llama import ROPES, TinyLlama, tiny_llama

MATRICES = [
    GoldenMatrix(96, 72, "q4", False, False),
    GoldenMatrix(96, 72, "q4", True, True),
    GoldenMatrix(96, 72, "q8", False, False),
    GoldenMatrix(96, 72, "f16", False, True),
    GoldenMatrix(96, 72, "f32", False, False),
]
ARITHMETICS = ("f32", "int8", "int16")


def stored(model: TinyLlama) -> dict[str, dict[str, np.ndarray]]:
    """Return plain weights as canonical arrays."""
    return {
        name: {"weight" if array.ndim == 2 else "": array} for name, array in model.weights.items()
    }


def test_the_counter_is_splitmix64() -> None:
    state = int.from_bytes(hashlib.sha256(b"stream").digest()[:8], "little")
    wanted = []
    for _ in range(5):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        wanted.append(z ^ (z >> 31))
    assert inputs.hashed("stream", (5,)).tolist() == wanted


def test_inputs_never_change() -> None:
    # Stored artifacts depend on these bits: a change needs another FORMAT_VERSION.
    assert inputs.integers("pinned", (6,), -5, 5).tolist() == [1, -3, -2, -2, 5, -4]
    assert inputs.activations("pinned", 1, 4).tolist() == [
        [0.4765625, 1.6953125, -1.0703125, 0.5390625]
    ]


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_decoded_prototypes_are_those_of_the_test_reference(matrix: GoldenMatrix) -> None:
    arrays = inputs.prototypes("m", matrix)
    wanted = reference.dequantize(arrays, matrix.columns)
    np.testing.assert_array_equal(decode(arrays, matrix.columns), wanted)
    assert set(arrays) == set(inputs.suffixes(matrix))


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_every_prototype_differs_and_most_are_used(matrix: GoldenMatrix) -> None:
    rows = decode(inputs.prototypes("m", matrix), matrix.columns)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert len(np.unique(inputs.prototype_rows("m", matrix))) > 25


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("matrix", MATRICES[:3], ids=str)
def test_sums_are_exact_whatever_their_order(matrix: GoldenMatrix, arithmetic: str) -> None:
    weights = decode(inputs.prototypes("m", matrix), matrix.columns)
    x = inputs.activations("x", 12, matrix.columns).astype(np.float64)
    x = x * inputs.gains("gain", matrix.columns)
    factors = norm_factors(x, 1e-5)
    wanted = product(x, factors, weights, arithmetic)
    order = np.arange(matrix.columns)
    for start in range(0, matrix.columns, 32):
        order[start : start + 32] = order[start : start + 32][::-1]
    again = product(x[:, order], factors, weights[:, order], arithmetic)
    np.testing.assert_array_equal(again, wanted)


def test_products_are_those_of_the_test_reference() -> None:
    weights = decode(inputs.prototypes("m", MATRICES[0]), 72)
    x = inputs.activations("x", 12, 72).astype(np.float64)
    gain = inputs.gains("gain", 72)
    normed = reference.rms_norm(x, gain, 1e-5)
    for arithmetic, multiplied in (
        ("f32", normed),
        ("int8", reference.round_activations(normed)),
        ("int16", normed),
    ):
        found = product(x * gain, norm_factors(x, 1e-5), weights, arithmetic)
        wanted = multiplied @ weights.T
        allowed = 3e-5 if arithmetic == "int16" else 1e-12
        assert np.abs(found - wanted).max() < allowed * np.abs(wanted).max(), arithmetic


def test_no_int8_code_lies_near_a_half() -> None:
    # Or a right kernel, which divides in float32, could round to the code beside the wanted one.
    for rows in (inputs.activations("x", 12, 2048), inputs.activations("y", 12, 2048)):
        for scaled in (rows, rows * inputs.gains("gain", 2048)):
            groups = scaled.astype(np.float64).reshape(12, -1, 32)
            largest = np.abs(groups).max(axis=2, keepdims=True)
            codes = groups * 127 / np.where(largest == 0, 1, largest)
            assert np.abs(np.abs(codes - np.rint(codes)) - 0.5).min() > 1e-4


@pytest.mark.parametrize("kind", ROPES)
def test_rope_is_that_of_the_test_reference(kind: str) -> None:
    config = tiny_llama(kind).config
    found = rope_frequencies(config.rope, config.head_dim, config.context_length)
    wanted = reference.rope_frequencies(config.rope, config.head_dim, config.context_length)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
    assert found[1] == pytest.approx(wanted[1], rel=1e-12)
    x = inputs.plain("x", (3, 2, config.head_dim)).astype(np.float64)
    np.testing.assert_allclose(
        rotate(x, [5, 0, 200], config.rope, config.context_length),
        reference.rotate(x, [5, 0, 200], *wanted),
        atol=1e-11,
    )


def test_attention_is_that_of_the_test_reference() -> None:
    query = inputs.plain("q", (6, 16)).astype(np.float64)
    keys = inputs.plain("k", (40, 2, 16)).astype(np.float64)
    values = inputs.plain("v", (40, 2, 16)).astype(np.float64)
    wanted = reference.causal_attention(query[None], keys, values)[0]
    np.testing.assert_allclose(attend(query, keys, values), wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", ["default", "linear"])
def test_the_trace_is_what_the_test_reference_says(kind: str) -> None:
    model = tiny_llama(kind)
    trace = greedy_trace(model.config, stored(model), [3, 1, 4, 1, 5])
    assert trace is not None
    tokens = [*trace.prompt, *(step.token for step in trace.steps)]
    logits = reference.llama_logits(model.config, model.weights, tokens[:-1])[4:]
    assert len(trace.steps) == 32
    assert [step.token for step in trace.steps] == np.argmax(logits, axis=1).tolist()
    ordered = np.sort(logits, axis=1)
    for step, row, deviation in zip(trace.steps, ordered, np.std(logits, axis=1), strict=True):
        assert step.logit == pytest.approx(row[-1], abs=1e-5)
        assert step.gap == pytest.approx(row[-1] - row[-2], abs=1e-5)
        assert step.deviation == pytest.approx(deviation, abs=1e-5)


def test_a_wrong_draft_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama("default")
    wanted = greedy_trace(model.config, stored(model), [3, 1, 4])
    original, calls = golden_trace._Llama.logits, []

    def noisy(self: golden_trace._Llama, *arguments: object) -> np.ndarray:
        found = original(self, *arguments)  # type: ignore[arg-type]
        if self.dtype is np.float32:
            calls.append(len(calls))
            if len(calls) % 5 == 0:
                return -found
        return found

    monkeypatch.setattr(golden_trace._Llama, "logits", noisy)
    assert greedy_trace(model.config, stored(model), [3, 1, 4]) == wanted
    assert len(calls) > 40


def test_the_trace_ends_with_the_context() -> None:
    model = tiny_llama("default")
    config = dataclasses.replace(model.config, context_length=20)
    trace = greedy_trace(config, stored(model), [3, 1, 4])
    assert trace is not None
    assert len(trace.prompt) + len(trace.steps) == 20


@pytest.mark.parametrize("value", [0.0, np.inf])
def test_a_model_without_sense_has_no_trace(value: float) -> None:
    model = tiny_llama("default")
    model.weights["final_norm"][:] = value
    with np.errstate(all="ignore"):
        assert greedy_trace(model.config, stored(model), [3, 1]) is None
        tap = WeightTap(1000, random=False)
        tap.kept = stored(model)  # type: ignore[assignment]
        golden = parse_golden(build_golden(model.config, [], tap, None), "golden.json")
    assert golden.trace is None
    assert "not finite" in golden.trace_note


@pytest.mark.parametrize(
    ("count", "random", "reason"), [(10**9, False, "500 million"), (1000, True, "random")]
)
def test_large_and_random_models_say_why_there_is_no_trace(
    count: int, random: bool, reason: str
) -> None:
    tap = WeightTap(count, random=random)
    model = tiny_llama("default")
    if not random:
        passed = list(tap.watch(iter([("layers.0.qkv.codes", np.zeros(3, np.uint8))])))
        assert len(passed) == 1
        assert tap.kept == {}
    golden = parse_golden(build_golden(model.config, [], tap, None), "golden.json")
    assert golden.trace is None
    assert reason in golden.trace_note


def test_last_bits_do_not_reach_the_file() -> None:
    values = np.random.default_rng(0).standard_normal((50, 200)) * 10.0 ** np.arange(-100, 100)
    values[0] = 0
    values = np.clip(values, -1e30, 1e30)
    nudged = np.nextafter(np.nextafter(values, np.inf), np.inf)
    assert golden_array(nudged[1:]) == golden_array(values[1:])
    kept = np.abs(values) > 1e-30
    restored = array_values(golden_array(values))
    np.testing.assert_allclose(restored[kept], values[kept], rtol=2**-20)


def test_golden_data_reads_back_as_it_was_written() -> None:
    model = tiny_llama("default")
    tap = WeightTap(1000, random=True)
    data = build_golden(model.config, [], tap, None)
    assert golden_bytes(parse_golden(data, "golden.json")) == data


@pytest.mark.parametrize(("products", "limit"), [("int16", 0.02), ("f16", 0.05)])
def test_whole_steps_may_be_further_off_where_products_are_float16(
    products: str, limit: float
) -> None:
    with Artifact.open(tiny_artifacts.shared_artifact()) as artifact:
        library = dataclasses.replace(
            artifact.manifest.libraries[0], arithmetic="int16", kv_dtype="float16"
        )
    operation = Operation("linear", None, GoldenMatrix(64, 64, "q4", False, False), "residual")
    functions = (CheckFunction("check_0", operation, products, ("a",), 64, 64, ()),)
    tap, config = WeightTap(1000, random=True), tiny_llama("default").config
    data = build_golden(config, [(library, functions)], tap, None)
    golden = parse_golden(data, "golden.json")
    assert golden.libraries[0].trace.logit == limit


def test_a_short_context_has_golden_attention_too() -> None:
    config = dataclasses.replace(tiny_llama("default").config, context_length=5)
    for batch in (None, 1):
        case = kernel_case(Operation("rope_attention", batch), config, {"f32"}, {"float16"})
        assert case.expected["float16"].values.shape[0] == (5 if batch is None else 12)


OPERATIONS = [
    Operation("embed", 1, MATRICES[1]),
    Operation("norm_linear", 1, MATRICES[0], "plain", 1e-5),
    Operation("norm_linear", 1, MATRICES[1], "swiglu", 1e-5),
    Operation("linear", 1, MATRICES[2], "residual"),
    Operation("rope_attention", 1),
    Operation("rope_attention", None),
]


def test_other_last_bits_give_the_same_golden_data(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama("llama3")

    def golden() -> list[object]:
        found: list[object] = [greedy_trace(model.config, stored(model), [3, 1, 4])]
        for operation in OPERATIONS:
            found.append(kernel_case(operation, model.config, set(ARITHMETICS), {"float16"}))
        return found

    wanted = golden()
    # Sums of products are exact; these are not, and a linear algebra library's own rounding is
    # far below this in a trace.
    nudge = 1 + 1e-14
    for name, original in (("attend", attend), ("norm_factors", norm_factors), ("silu", silu)):
        monkeypatch.setattr(golden_cases, name, lambda *a, f=original: f(*a) * nudge)
    monkeypatch.setattr(golden_trace, "norm_factors", lambda *a: norm_factors(*a) * nudge)
    assert golden() == wanted


def test_a_kernel_without_golden_data_stops_the_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RecordingKernels._note

    def forgetful(self: RecordingKernels, operation: Operation, *rest: object) -> None:
        if operation.kind != "select_row":
            original(self, operation, *rest)

    monkeypatch.setattr(RecordingKernels, "_note", forgetful)
    with pytest.raises(CompileError, match="select_row_prefill"):
        tiny_artifacts.compile_tiny(tmp_path)
