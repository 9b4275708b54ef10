"""The canonical formats: exact layout, lossless repacking, refusal of what does not fit."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrylm.compile.quantize import (
    GROUP_SIZE,
    SCHEMES,
    bits_per_weight,
    decode,
    encode,
    encode_vector,
    tensor_layout,
)
from ferrylm.compile.sources.encodings import ENCODINGS
from ferrylm.compile.sources.source import ArrayRows, SourceTensor, tensor_from_array
from ferrylm.errors import SourceError, UsageError

LOSSLESS = {
    "Q4_0": "q4f16",
    "Q4_1": "q4f16",
    "MLC_Q4F16_1": "q4f16",
    "Q8_0": "q8f16",
    "F16": "q0f16",
    "F32": "q0f32",
    "BF16": "q0f32",
}
# Byte offsets of the float16 numbers in a block.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "MLC_Q4F16_1": [16], "Q8_0": [0], "Q4_K": [0, 2]}


def _encoded(encoding: str, rows: int, columns: int, seed: int = 0) -> SourceTensor:
    """Make a tensor of random codes with finite scales of both signs, zero and subnormal."""
    random = np.random.default_rng(seed)
    form = ENCODINGS[encoding]
    blocks = rows * (form.row_bytes(columns) // form.block_bytes)
    raw = random.integers(0, 256, (blocks, form.block_bytes), dtype=np.uint8)
    for at in HALVES.get(encoding, []):
        halves = (random.standard_normal(blocks) * 0.05).astype("<f2")
        halves[:: max(1, blocks // 3)] = np.float16(6e-8)
        halves[1 :: max(1, blocks // 3)] = 0
        raw[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
    if encoding in ("F16", "F32", "BF16"):
        values = random.standard_normal((rows, columns)).astype(np.float32)
        halves32 = {"F16": values.astype("<f2"), "F32": values.astype("<f4")}
        plain = halves32.get(encoding, values.view("<u4") >> 16)
        plain = plain.astype("<u2") if encoding == "BF16" else plain
        return _tensor(encoding, rows, columns, plain.view(np.uint8))
    return _tensor(encoding, rows, columns, raw.reshape(rows, -1))


def _tensor(encoding: str, rows: int, columns: int, raw: np.ndarray) -> SourceTensor:
    return SourceTensor("w", (rows, columns), encoding, ArrayRows(np.ascontiguousarray(raw)))


def _gauss(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


@pytest.mark.parametrize("encoding", sorted(LOSSLESS))
def test_equal_formats_are_stored_without_loss(encoding: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
    def check(rows: int, groups: int, seed: int) -> None:
        tensor = _encoded(encoding, rows, 32 * groups, seed)
        arrays = encode(tensor, LOSSLESS[encoding])
        np.testing.assert_array_equal(
            decode(arrays, LOSSLESS[encoding], 32 * groups), tensor.dequantize(), strict=True
        )

    check()


def test_q4_0_codes_are_copied_byte_by_byte() -> None:
    tensor = _encoded("Q4_0", 3, 64)
    blocks = tensor.read_rows(0, 3).reshape(3, 2, 18)
    arrays = encode(tensor, "q4f16")
    np.testing.assert_array_equal(arrays["codes"], blocks[:, :, 2:].reshape(3, 32))
    np.testing.assert_array_equal(arrays["scale"].view(np.uint8).reshape(3, 2, 2), blocks[:, :, :2])
    assert "minimum" not in arrays


def test_low_nibbles_hold_the_first_half_of_a_group() -> None:
    weights = np.zeros((1, 64), np.float32)
    weights[0, 32:64] = np.arange(-8, 24) % 16 - 8.0
    arrays = encode(tensor_from_array("w", weights), "q4f16")
    expected = (np.arange(-8, 24) % 16).astype(np.uint8)
    packed = arrays["codes"][0, 16:32]
    np.testing.assert_array_equal(packed & 15, expected[:16])
    np.testing.assert_array_equal(packed >> 4, expected[16:])
    np.testing.assert_array_equal(decode(arrays, "q4f16", 64), weights)


def test_decode_follows_the_written_formula() -> None:
    random = np.random.default_rng(5)
    codes = random.integers(0, 256, (2, 32), dtype=np.uint8)
    scale = random.standard_normal((2, 2)).astype(np.float16)
    minimum = random.standard_normal((2, 2)).astype(np.float16)
    with_minimum = decode({"codes": codes, "scale": scale, "minimum": minimum}, "q4f16", 64)
    without = decode({"codes": codes, "scale": scale}, "q4f16", 64)
    for row in range(2):
        for column in range(64):
            group, within = divmod(column, 32)
            byte = int(codes[row, 16 * group + within % 16])
            code = byte & 15 if within < 16 else byte >> 4
            s, m = float(scale[row, group]), float(minimum[row, group])
            assert without[row, column] == np.float32(s * (code - 8))
            assert with_minimum[row, column] == np.float32(np.float32(s * code) + np.float32(m))


@pytest.mark.parametrize("parts", [("Q4_0", "Q4_1"), ("Q4_1", "MLC_Q4F16_1"), ("Q4_1", "Q4_0")])
def test_a_group_without_minimum_gets_one_without_loss(parts: tuple[str, str]) -> None:
    tensors = [_encoded(encoding, 4, 96, seed) for seed, encoding in enumerate(parts)]
    arrays = encode(tensors, "q4f16")
    assert arrays["minimum"].shape == (8, 3)
    expected = np.concatenate([tensor.dequantize() for tensor in tensors])
    np.testing.assert_array_equal(decode(arrays, "q4f16", 96), expected)


def test_a_minimum_beyond_float16_is_refused() -> None:
    large = _tensor(
        "Q4_0", 1, 32, np.frombuffer(struct.pack("<e", 9000.0) + bytes(16), np.uint8)[None]
    )
    with pytest.raises(SourceError, match="tensor w "):
        encode([large, _encoded("Q4_1", 1, 32)], "q4f16")
    assert float(encode(large, "q4f16")["scale"][0, 0]) == 9000.0


def test_q4_k_keeps_its_codes_and_rounds_only_its_scales() -> None:
    tensor = _encoded("Q4_K", 4, 512)
    arrays = encode(tensor, "q4f16")
    expected = tensor.dequantize().astype(np.float64)
    error = np.abs(decode(arrays, "q4f16", 512) - expected)
    # Half a unit in the last place of float16 for scale * 15 and for the minimum, each.
    limit = (np.abs(arrays["scale"]).astype(np.float64) * 15 + np.abs(arrays["minimum"])) * 2.0**-11
    limit = np.repeat(limit + 2.0**-24 * 16, GROUP_SIZE, axis=1)
    assert (error <= limit).all()


def test_mlc_float32_scales_round_to_float16_and_codes_stay() -> None:
    random = np.random.default_rng(2)
    raw = random.integers(0, 256, (6, 20), dtype=np.uint8)
    raw[:, 16:] = (random.standard_normal(6) * 0.1).astype("<f4").view(np.uint8).reshape(6, 4)
    tensor = _tensor("MLC_Q4F32_1", 6, 32, raw)
    expected = tensor.dequantize()
    decoded = decode(encode(tensor, "q4f16"), "q4f16", 32)
    assert (np.abs(decoded - expected) <= np.abs(expected) * 2.0**-11).all()


@pytest.mark.parametrize("columns", [33, 40, 63])
def test_mlc_rows_that_end_within_a_group_keep_their_weights(columns: int) -> None:
    padded = _encoded("MLC_Q4F16_1", 3, 64)
    tensor = _tensor("MLC_Q4F16_1", 3, columns, padded.read_rows(0, 3))
    arrays = encode(tensor, "q4f16")
    assert arrays["codes"].shape == (3, 32)
    np.testing.assert_array_equal(decode(arrays, "q4f16", columns), tensor.dequantize())


def _plain_q4(weights: np.ndarray) -> np.ndarray:
    """Round as Q4_0 does: the largest weight of a group on code 0."""
    groups = weights.reshape(-1, 32)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=1)[:, None], axis=1)
    scale = (largest / -8).astype(np.float16).astype(np.float32)
    safe = np.where(scale == 0, 1, scale)
    return (np.clip(np.rint(groups / safe), -8, 7) * scale).reshape(weights.shape)


@pytest.mark.parametrize("name", ["gauss", "laplace", "uniform", "heavy"])
def test_q4_beats_plain_rounding(name: str) -> None:
    random = np.random.default_rng(3)
    draw = {
        "gauss": random.standard_normal,
        "laplace": lambda shape: random.laplace(size=shape),
        "uniform": lambda shape: random.uniform(-1, 1, shape),
        "heavy": lambda shape: random.standard_t(3, shape),
    }[name]
    weights = (draw((64, 512)) * 0.02).astype(np.float32)
    decoded = decode(encode(tensor_from_array("w", weights), "q4f16"), "q4f16", 512)
    loss = np.mean((decoded - weights) ** 2)
    plain = np.mean((_plain_q4(weights) - weights) ** 2)
    assert loss < 0.96 * plain


def test_q4_with_minimum_beats_q4_without_on_one_sided_weights() -> None:
    weights = np.abs(_gauss(8, 256)) * np.float32(0.1)
    tensor = tensor_from_array("w", weights)
    with_minimum = encode([_encoded("Q4_1", 1, 256), tensor], "q4f16")
    decoded = decode(with_minimum, "q4f16", 256)[1:]
    alone = decode(encode(tensor, "q4f16"), "q4f16", 256)
    assert np.mean((decoded - weights) ** 2) < 0.5 * np.mean((alone - weights) ** 2)


@pytest.mark.parametrize("scheme", ["q4f16", "q8f16"])
def test_error_stays_within_half_a_step(scheme: str) -> None:
    weights = _gauss(16, 256)
    arrays = encode(tensor_from_array("w", weights), scheme)
    error = np.abs(decode(arrays, scheme, 256) - weights).reshape(16, -1, 32)
    step = np.abs(arrays["scale"].astype(np.float32))[:, :, None]
    codes = arrays["codes"].reshape(16, 8, -1)
    if scheme == "q4f16":
        codes = np.concatenate([codes & 15, codes >> 4], axis=2)
        clipped = (codes == 0) | (codes == 15)
    else:
        clipped = np.abs(codes) == 127
    assert (error <= step * 0.5001)[~clipped].all()
    assert (error <= step * 2).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("columns", [1, 31, 32, 33, 100])
def test_any_number_of_columns_round_trips_in_shape(scheme: str, columns: int) -> None:
    weights = _gauss(3, columns)
    arrays = encode(tensor_from_array("w", weights), scheme)
    layout = tensor_layout(scheme, 3, columns)
    assert {key: (str(a.dtype), a.shape) for key, a in arrays.items()} == layout
    decoded = decode(arrays, scheme, columns)
    assert decoded.shape == weights.shape
    tolerance = {"q4f16": 0.35, "q8f16": 0.02, "q0f16": 2e-3, "q0f32": 0.0}[scheme]
    np.testing.assert_allclose(decoded, weights, atol=tolerance, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_zero_weights_stay_zero(scheme: str) -> None:
    arrays = encode(tensor_from_array("w", np.zeros((2, 64), np.float32)), scheme)
    assert not decode(arrays, scheme, 64).any()


@pytest.mark.parametrize("scheme", ["q4f16", "q8f16"])
@pytest.mark.parametrize("size", [1e-9, 1e-7, 3e-6, 1e-38])
def test_tiny_weights_stay_finite_and_no_larger(scheme: str, size: float) -> None:
    weights = _gauss(4, 64) * np.float32(size)
    decoded = decode(encode(tensor_from_array("w", weights), scheme), scheme, 64)
    assert np.isfinite(decoded).all()
    assert np.abs(decoded - weights).max() <= np.abs(weights).max() * 1.01


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_with_the_tensors_name(
    scheme: str, bad: float
) -> None:
    weights = _gauss(40, 64)
    weights[33, 17] = bad
    with pytest.raises(SourceError, match=r"tensor layers\.3\.down "):
        encode(tensor_from_array("layers.3.down", weights), scheme)


@pytest.mark.parametrize(("encoding", "at"), [(e, at) for e, ats in HALVES.items() for at in ats])
def test_a_scale_that_is_not_finite_is_refused(encoding: str, at: int) -> None:
    tensor = _encoded(encoding, 2, ENCODINGS[encoding].block_columns)
    raw = tensor.read_rows(0, 2)
    raw[1, at : at + 2] = np.frombuffer(struct.pack("<H", 0x7C00), np.uint8)
    with pytest.raises(SourceError, match="not finite"):
        encode(_tensor(encoding, 2, tensor.columns, raw), LOSSLESS.get(encoding, "q4f16"))


def test_weights_beyond_float16_are_refused_where_they_do_not_fit() -> None:
    tensor = tensor_from_array("w", np.full((1, 32), 1e7, np.float32))
    for scheme in ("q4f16", "q8f16", "q0f16"):
        with pytest.raises(SourceError, match="float16"):
            encode(tensor, scheme)
    assert decode(encode(tensor, "q0f32"), "q0f32", 32)[0, 0] == np.float32(1e7)


def test_pieces_do_not_show_in_the_result() -> None:
    weights = _gauss(700, 256)  # three pieces
    whole = encode(tensor_from_array("w", weights), "q4f16")
    parts = [tensor_from_array("w", weights[at : at + 7]) for at in range(0, 700, 7)]
    for suffix, array in encode(parts, "q4f16").items():
        np.testing.assert_array_equal(array, whole[suffix])


def test_matrices_of_different_width_are_refused() -> None:
    parts = [tensor_from_array("a", _gauss(2, 64)), tensor_from_array("b", _gauss(2, 32))]
    with pytest.raises(SourceError, match="equal columns"):
        encode(parts, "q4f16")


def test_vectors_are_no_matrices_but_are_read_as_float32() -> None:
    vector = tensor_from_array("norm", np.arange(5, dtype=np.float16))
    with pytest.raises(SourceError, match="norm"):
        encode(vector, "q0f32")
    np.testing.assert_array_equal(
        encode_vector(vector), np.arange(5, dtype=np.float32), strict=True
    )
    with pytest.raises(SourceError, match="norm"):
        encode_vector(tensor_from_array("norm", np.array([1, np.nan], np.float32)))


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="q3f16"):
        encode(tensor_from_array("w", _gauss(1, 32)), "q3f16")


def test_bits_per_weight_count_scales_and_minimums() -> None:
    assert [bits_per_weight(scheme) for scheme in SCHEMES] == [4.5, 8.5, 16.0, 32.0]
    assert bits_per_weight("q4f16", with_minimum=True) == 5.0
