"""Each decoder against a scalar one written from the format's description."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar_decoders import FLOAT_FIELDS, SCALAR_DECODERS

from ferrylm.compile.sources.encodings import ENCODINGS

# A decoder rounds two products and a sum to float32. No term is larger than 63 * 32 times the
# block's own floating-point fields (6-bit scales, codes of at most 5 bits, or 127 * 32 in Q6_K).
_LARGEST_FACTOR = 127 * 32
_ROUNDINGS = 3 * 2.0**-24


def _block(draw: st.DrawFn, encoding: str) -> bytes:
    size = ENCODINGS[encoding].block_bytes
    block = bytearray(draw(st.binary(min_size=size, max_size=size)))
    for at, kind in FLOAT_FIELDS[encoding]:
        block[at : at + struct.calcsize(kind)] = struct.pack(kind, draw(st.floats(-8, 8, width=16)))
    return bytes(block)


@st.composite
def _blocks(draw: st.DrawFn, encoding: str) -> list[bytes]:
    return [_block(draw, encoding) for _ in range(draw(st.integers(1, 3)))]


def test_every_encoding_has_a_scalar_reference() -> None:
    assert set(SCALAR_DECODERS) == set(ENCODINGS)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_decoder_agrees_with_the_scalar_reference(encoding: str) -> None:
    @settings(max_examples=40, deadline=None)
    @given(_blocks(encoding))
    def check(blocks: list[bytes]) -> None:
        raw = np.frombuffer(b"".join(blocks), np.uint8).reshape(1, -1)
        with np.errstate(invalid="ignore"):  # signalling NaN among random bfloat16
            decoded = ENCODINGS[encoding].decode(raw)[0].astype(np.float64)
        expected = np.array([w for block in blocks for w in SCALAR_DECODERS[encoding](block)])
        if encoding == "BF16":  # exact, and any 16 bits are a number
            np.testing.assert_array_equal(decoded, expected)
            return
        fields = [
            abs(struct.unpack_from(kind, block, at)[0])
            for block in blocks
            for at, kind in FLOAT_FIELDS[encoding]
        ]
        limit = max(fields) * _LARGEST_FACTOR * _ROUNDINGS
        np.testing.assert_allclose(decoded, expected, rtol=0, atol=limit)

    check()


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_rows_decode_independently_of_each_other(encoding: str) -> None:
    form = ENCODINGS[encoding]
    random = np.random.default_rng(1)
    raw = random.integers(0, 256, (5, 3 * form.block_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        whole = form.decode(raw)
        rows = np.concatenate([form.decode(raw[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(whole, rows)


def test_row_bytes_count_whole_blocks() -> None:
    assert ENCODINGS["Q4_0"].row_bytes(64) == 36
    assert ENCODINGS["MLC_Q4F16_1"].row_bytes(33) == 36
    assert ENCODINGS["F16"].row_bytes(7) == 14
