import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ferrylm.runtime.manifest import ModelConfig, RopeConfig
from tests import numeric_gates as gates
from tests import reference
from tests.tiny_families import FAMILIES, tiny_family
from tests.tiny_llama import ROPES, tiny_llama

GOLDEN = Path(__file__).parent / "golden"


def tiny_golden(name: str, kind: str) -> np.ndarray:
    with np.load(GOLDEN / "tiny_rope_logits.npz") as golden:
        return golden[f"{name}_{kind}"]


@pytest.mark.parametrize("name", ROPES)
def test_logits_equal_those_of_transformers_for_each_kind_of_rope(name: str) -> None:
    tiny = tiny_llama(name)
    found = reference.llama_logits(tiny.config, tiny.weights, tiny.token_ids)
    # Not tighter: transformers computes angles and norms in float32 even for float64 weights.
    assert gates.logits_error(found, tiny_golden(name, "logits")) < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_those_of_transformers_for_each_family(name: str) -> None:
    tiny = tiny_family(name)
    found = reference.llama_logits(tiny.config, tiny.weights, tiny.token_ids)
    with np.load(GOLDEN / "tiny_family_logits.npz") as golden:
        assert gates.logits_error(found, golden[name]) < 1e-4


@pytest.mark.parametrize("name", ROPES)
def test_frequencies_and_scaling_equal_those_of_transformers(name: str) -> None:
    config = tiny_llama(name).config
    frequencies, scaling = reference.rope_frequencies(
        config.rope, config.head_dim, config.context_length
    )
    assert frequencies == pytest.approx(tiny_golden(name, "frequencies"), rel=1e-6)
    assert scaling == pytest.approx(float(tiny_golden(name, "scaling")), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in ROPES if name != "default"])
def test_the_tiny_goldens_notice_a_wrong_rope(name: str) -> None:
    tiny = tiny_llama(name)
    changed = replace(tiny.config, rope=RopeConfig("default", tiny.config.rope.theta))
    found = reference.llama_logits(changed, tiny.weights, tiny.token_ids)
    assert gates.logits_error(found, tiny_golden(name, "logits")) > 1e-2


def test_default_rope_frequencies_fall_from_one_to_nearly_one_over_theta() -> None:
    frequencies, scaling = reference.rope_frequencies(RopeConfig("default", 10000.0), 128, 4096)
    assert frequencies[0] == 1.0
    assert frequencies[32] == pytest.approx(0.01)
    assert frequencies[63] == pytest.approx(10000.0 ** (-126 / 128))
    assert scaling == 1.0


def test_llama3_rope_keeps_high_and_divides_low_frequencies() -> None:
    parameters = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192.0,
    }
    plain, _ = reference.rope_frequencies(RopeConfig("default", 500000.0), 128, 131072)
    found, _ = reference.rope_frequencies(RopeConfig("llama3", 500000.0, parameters), 128, 131072)
    wavelengths = 2 * math.pi / plain
    assert np.array_equal(found[wavelengths < 2048], plain[wavelengths < 2048])
    slow = wavelengths > 8192
    assert found[slow] == pytest.approx(plain[slow] / 8, rel=1e-15)
    between = ~slow & (wavelengths >= 2048)
    assert np.all((found < plain) & (found > plain / 8), where=between)
    assert np.any(between)


def test_yarn_without_a_factor_takes_it_from_the_context_length() -> None:
    original = {"original_max_position_embeddings": 1024.0}
    with_factor = RopeConfig("yarn", 1e4, {"factor": 4.0} | original)
    without_factor = RopeConfig("yarn", 1e4, original)
    wanted, wanted_scaling = reference.rope_frequencies(with_factor, 64, 4096)
    found, scaling = reference.rope_frequencies(without_factor, 64, 4096)
    assert np.array_equal(found, wanted)
    assert scaling == wanted_scaling == pytest.approx(0.1 * math.log(4) + 1)


def test_an_unknown_kind_of_rope_is_refused() -> None:
    with pytest.raises(ValueError, match="dynamic"):
        reference.rope_frequencies(RopeConfig("dynamic", 1e4), 64, 4096)


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    generator = np.random.default_rng(5)
    query, key = generator.normal(size=(2, 1, 1, 16))
    frequencies, _ = reference.rope_frequencies(RopeConfig("default", 100.0), 16, 64)

    def score(query_position: int, key_position: int) -> float:
        rotated = [
            reference.rotate(vector, [position], frequencies, 1.0)
            for vector, position in ((query, query_position), (key, key_position))
        ]
        assert np.linalg.norm(rotated[0]) == pytest.approx(np.linalg.norm(query))
        return float(np.sum(rotated[0] * rotated[1]))

    assert score(9, 4) == pytest.approx(score(25, 20), abs=1e-12)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-3)


def test_rms_norm_of_equal_values_is_the_weight() -> None:
    found = reference.rms_norm([[-3.0, -3.0], [0.0, 0.0]], [2.0, 5.0], 1e-30)
    assert found == pytest.approx(np.array([[-2.0, -5.0], [0.0, 0.0]]))


def test_silu_is_exact_far_out() -> None:
    assert reference.silu([-1e4, 0.0, 1e4]) == pytest.approx([0.0, 0.0, 1e4])
    assert reference.silu(1.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert reference.swiglu(1.0, -2.0) == pytest.approx(-2 / (1 + math.exp(-1)))


def attention_by_loops(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    result = np.zeros_like(query)
    tokens, heads, width = query.shape
    for t in range(tokens):
        seen = len(key) - tokens + t + 1
        for h in range(heads):
            group = h // (heads // key.shape[1])
            powers = [
                math.exp(float(query[t, h] @ key[s, group]) / math.sqrt(width)) for s in range(seen)
            ]
            for s in range(seen):
                result[t, h] += powers[s] / sum(powers) * value[s, group]
    return result


@pytest.mark.parametrize(("tokens", "length"), [(1, 1), (1, 9), (5, 5), (3, 8)])
def test_attention_equals_the_definition_written_as_loops(tokens: int, length: int) -> None:
    generator = np.random.default_rng(6)
    query = generator.normal(size=(tokens, 6, 8))
    key, value = generator.normal(size=(2, length, 2, 8))
    found = reference.causal_attention(query, key, value)
    assert found == pytest.approx(attention_by_loops(query, key, value), abs=1e-13)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 11])
def test_paged_attention_equals_attention_over_contiguous_keys(length: int) -> None:
    generator = np.random.default_rng(7)
    lengths = [length, 0, 12 - length]
    pools = generator.normal(size=(2, 10, 4, 2, 8))
    tables = generator.permutation(10)[:9].reshape(3, 3)
    query = generator.normal(size=(3, 4, 8))
    found = reference.paged_attention(query, *pools, tables, lengths)
    for index in (0, 2):
        rows = [
            np.stack([pool[tables[index][t // 4], t % 4] for t in range(lengths[index])])
            for pool in pools
        ]
        wanted = reference.causal_attention(query[index : index + 1], *rows)[0]
        assert np.array_equal(found[index], wanted)
    assert not np.any(found[1])


def test_q4_codes_lie_low_nibble_first_with_the_zero_at_eight() -> None:
    codes = np.arange(16, dtype=np.uint8)[None] | np.uint8(0x70)
    scale = np.array([[0.5]], np.float16)
    wanted = [0.5 * (code - 8) for code in range(16)] + [-0.5] * 16
    assert reference.dequantize({"codes": codes, "scale": scale}, 32)[0] == pytest.approx(wanted)
    minimum = np.array([[-1.0]], np.float16)
    arrays = {"codes": codes, "scale": scale, "minimum": minimum}
    wanted = [0.5 * code - 1 for code in range(16)] + [2.5] * 14
    assert reference.dequantize(arrays, 30)[0] == pytest.approx(wanted)


def test_q8_codes_are_signed_and_matmul_sums_over_the_columns() -> None:
    codes = np.zeros((2, 64), np.int8)
    codes[0, 0], codes[1, 33] = -128, 127
    arrays = {"codes": codes, "scale": np.array([[0.25, 9.0], [9.0, 0.5]], np.float16)}
    found = reference.matmul(np.ones((1, 40)) * [[2.0]], arrays, 40)
    assert np.array_equal(found, [[-64.0, 127.0]])


def test_activations_are_rounded_half_to_even_with_the_largest_at_127() -> None:
    values = np.zeros((1, 40))
    values[0, :5] = [127.0, 0.5, 1.5, -2.5, -127.0]
    values[0, 32:34] = [0.0, -3.0]
    codes, scales = reference.quantize_activations(values)
    assert codes.shape == (1, 2, 32)
    assert codes[0, 0, :5].tolist() == [127, 0, 2, -2, -127]
    assert codes[0, 1, :2].tolist() == [0, -127]
    assert scales == pytest.approx(np.array([[1.0, 3 / 127]]))


def test_a_group_of_zeros_has_scale_and_codes_zero() -> None:
    codes, scales = reference.quantize_activations(np.zeros((2, 33)))
    assert not np.any(codes)
    assert not np.any(scales)
    assert np.array_equal(reference.round_activations(np.zeros((2, 33))), np.zeros((2, 33)))


def test_rounded_activations_are_off_by_half_a_step_at_most() -> None:
    values = np.random.default_rng(8).normal(size=(20, 96))
    grouped = np.abs(values.reshape(20, 3, 32))
    half_step = np.repeat(np.max(grouped, axis=2) / 254, 32, axis=1)
    error = np.abs(reference.round_activations(values) - values)
    assert np.all(error <= half_step * (1 + 1e-12))
    assert np.mean(error / half_step) == pytest.approx(0.5, abs=0.05)


def test_a_weight_that_the_reference_does_not_know_is_refused() -> None:
    tiny = tiny_llama("default")
    weights = tiny.weights | {"layers.0.qkv_bias": np.zeros(4, np.float32)}
    with pytest.raises(ValueError, match="qkv_bias"):
        reference.llama_logits(tiny.config, weights, tiny.token_ids)


SMOLLM2 = ModelConfig(
    family="llama",
    hidden_size=576,
    intermediate_size=1536,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    vocab_size=49152,
    context_length=8192,
    norm_eps=1e-5,
    tied_embedding=True,
    rope=RopeConfig("default", 100000.0),
)


@pytest.mark.slow
@pytest.mark.model
def test_logits_of_smollm2_equal_those_of_transformers() -> None:
    path = os.environ.get("FERRY_TEST_GGUF")
    if path is None:
        pytest.skip("FERRY_TEST_GGUF names no model; scripts/test.sh fetches one")
    from ferrylm.compile.sources import open_source
    from tests.model_weights import source_weights

    with open_source(Path(path)) as source:
        weights = source_weights(source.tensors, SMOLLM2)
    with np.load(GOLDEN / "smollm2_logits.npz") as arrays:
        golden = dict(arrays)
    ends = np.cumsum(golden["lengths"])
    for start, stop in zip(ends - golden["lengths"], ends, strict=True):
        found = reference.llama_logits(SMOLLM2, weights, golden["token_ids"][start:stop])
        deviation = golden["deviation"][start:stop]
        top = np.take_along_axis(found, golden["top_ids"][start:stop].astype(np.int64), axis=1)
        error = np.abs(top - golden["top_logits"][start:stop]) / deviation[:, None]
        assert np.max(error) < 1e-4
        log_sum = found[:, 0] - gates.log_softmax(found)[:, 0]
        assert log_sum == pytest.approx(golden["log_sum"][start:stop], abs=1e-4)
        assert np.array_equal(np.argmax(found, axis=1), golden["top_ids"][start:stop, 0])
        for row, position in enumerate(golden["full_positions"]):
            if start <= position < stop:
                full = found[position - start][None]
                assert gates.logits_error(full, golden["full_logits"][row][None]) < 1e-4


def test_greedy_golden_is_complete() -> None:
    traces = json.loads((GOLDEN / "smollm2_greedy.json").read_text())["traces"]
    assert len(traces) == 6
    assert any(trace["chat"] for trace in traces)
    for trace in traces:
        assert len(trace["ids"]) == len(trace["gaps"]) == 256
        assert all(0 <= token < SMOLLM2.vocab_size for token in trace["prompt_ids"] + trace["ids"])
        assert min(trace["gaps"]) >= 0
