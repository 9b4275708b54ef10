"""How sources encode a row of weights: block sizes and decoders, one table.

Layouts: ggml's block structures (ggml-common.h) and MLC's group quantization. All numbers are
little endian. A block covers `block_columns` consecutive elements of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.sources import k_quants

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Decoder = Callable[[Bytes], Floats]  # [blocks, block_bytes] -> [blocks, block_columns]


@dataclass(frozen=True)
class Encoding:
    """One encoding: `decode_blocks` turns [blocks, block_bytes] into [blocks, block_columns]."""

    name: str
    block_columns: int
    block_bytes: int
    decode_blocks: Decoder
    pads_rows: bool = False  # whether the last block of a row may be partly used

    def row_bytes(self, columns: int) -> int:
        """Return the size of a row of this many elements."""
        return -(-columns // self.block_columns) * self.block_bytes

    def decode(self, raw: Bytes) -> Floats:
        """Decode uint8 [rows, row_bytes] to float32 [rows, columns], row padding included."""
        rows = raw.shape[0]
        blocks = np.ascontiguousarray(raw).reshape(-1, self.block_bytes)
        return self.decode_blocks(blocks).reshape(rows, -1)


def half(raw: Bytes, at: int) -> Floats:
    """Read the float16 at byte `at` of each block: float32 [blocks, 1]."""
    return np.ascontiguousarray(raw[:, at : at + 2]).view("<f2").astype(np.float32)


def nibbles(packed: Bytes) -> Bytes:
    """Split bytes into codes: all the low nibbles of a block, then all its high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _f32(raw: Bytes) -> Floats:
    return raw.view("<f4").astype(np.float32)


def _f16(raw: Bytes) -> Floats:
    return raw.view("<f2").astype(np.float32)


def _bf16(raw: Bytes) -> Floats:
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _q4_0(raw: Bytes) -> Floats:
    return half(raw, 0) * (nibbles(raw[:, 2:]).astype(np.float32) - 8)


def _q4_1(raw: Bytes) -> Floats:
    return half(raw, 0) * nibbles(raw[:, 4:]).astype(np.float32) + half(raw, 2)


def _fifth_bits(raw: Bytes, at: int) -> Bytes:
    """Unpack the 32 high bits of a Q5 block, element i in bit i of a uint32, as 0 or 16."""
    bits: Bytes = np.unpackbits(raw[:, at : at + 4], axis=1, bitorder="little") << np.uint8(4)
    return bits


def _q5_0(raw: Bytes) -> Floats:
    codes = nibbles(raw[:, 6:]) | _fifth_bits(raw, 2)
    return half(raw, 0) * (codes.astype(np.float32) - 16)


def _q5_1(raw: Bytes) -> Floats:
    codes = nibbles(raw[:, 8:]) | _fifth_bits(raw, 4)
    return half(raw, 0) * codes.astype(np.float32) + half(raw, 2)


def _q8_0(raw: Bytes) -> Floats:
    return half(raw, 0) * raw[:, 2:].view(np.int8).astype(np.float32)


def _mlc_codes(raw: Bytes) -> Floats:
    """Unpack MLC's codes: element i in bits 4*(i%8) of word i//8, so low nibble first."""
    pairs = np.stack([raw[:, :16] & 15, raw[:, :16] >> 4], axis=2)
    return pairs.reshape(-1, 32).astype(np.float32) - 7


def _mlc_q4f16_1(raw: Bytes) -> Floats:
    return half(raw, 16) * _mlc_codes(raw)


def _mlc_q4f32_1(raw: Bytes) -> Floats:
    return np.ascontiguousarray(raw[:, 16:20]).view("<f4") * _mlc_codes(raw)


ENCODINGS: dict[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding("F32", 1, 4, _f32),
        Encoding("F16", 1, 2, _f16),
        Encoding("BF16", 1, 2, _bf16),
        Encoding("Q4_0", 32, 18, _q4_0),
        Encoding("Q4_1", 32, 20, _q4_1),
        Encoding("Q5_0", 32, 22, _q5_0),
        Encoding("Q5_1", 32, 24, _q5_1),
        Encoding("Q8_0", 32, 34, _q8_0),
        Encoding("Q2_K", 256, 84, k_quants.decode_q2_k),
        Encoding("Q3_K", 256, 110, k_quants.decode_q3_k),
        Encoding("Q4_K", 256, 144, k_quants.decode_q4_k),
        Encoding("Q5_K", 256, 176, k_quants.decode_q5_k),
        Encoding("Q6_K", 256, 210, k_quants.decode_q6_k),
        # Codes and scale lie in two tensors of an MLC folder; `mlc.py` puts them side by side.
        Encoding("MLC_Q4F16_1", 32, 18, _mlc_q4f16_1, pads_rows=True),
        Encoding("MLC_Q4F32_1", 32, 20, _mlc_q4f32_1, pads_rows=True),
    )
}
