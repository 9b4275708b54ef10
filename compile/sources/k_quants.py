"""Decoders of ggml's K-quants: super-blocks of 256 elements with scales of their own.

Each takes uint8 [blocks, block_bytes] and returns float32 [blocks, 256]. Layouts: `block_q*_K` in
ggml-common.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def _half(raw: Bytes, at: int) -> Floats:
    return np.ascontiguousarray(raw[:, at : at + 2]).view("<f2").astype(np.float32)


def _planes(packed: Bytes, bits: int) -> Bytes:
    """Split each byte into its `bits`-wide fields: [blocks, n] -> [blocks, 8 // bits, n]."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[None, :, None]
    planes: Bytes = (packed[:, None, :] >> shifts) & np.uint8((1 << bits) - 1)
    return planes


def six_bit_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Unpack the 12 bytes of Q4_K and Q5_K: eight 6-bit scales and eight 6-bit minimums.

    Bytes 0-3 and 4-7 hold scales and minimums 0-3 in their low six bits; 8-11 hold the low
    nibbles of 4-7, whose top two bits sit above those of 0-3.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=1)
    minimums = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=1)
    return scales, minimums


def group_affine(raw: Bytes) -> tuple[Floats, Floats]:
    """Return scale and minimum of the eight groups of 32 of a Q4_K or Q5_K block: [blocks, 8].

    A weight is scale * code + minimum.
    """
    scales, minimums = six_bit_scales(raw[:, 4:16])
    return (
        _half(raw, 0) * scales.astype(np.float32),
        -(_half(raw, 2) * minimums.astype(np.float32)),
    )


def q4_k_codes(raw: Bytes) -> Bytes:
    """Return the codes of Q4_K: [blocks, 8, 32]; 32 bytes hold two groups, low nibbles first."""
    packed = raw[:, 16:144].reshape(-1, 4, 1, 32)
    return np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)


def _affine(raw: Bytes, codes: Bytes) -> Floats:
    scale, minimum = group_affine(raw)
    values = scale[:, :, None] * codes.astype(np.float32) + minimum[:, :, None]
    return values.reshape(-1, 256)


def decode_q4_k(raw: Bytes) -> Floats:
    """Decode Q4_K: half d, half dmin, 12 bytes of scales, 128 of nibbles."""
    return _affine(raw, q4_k_codes(raw))


def decode_q5_k(raw: Bytes) -> Floats:
    """Decode Q5_K: as Q4_K with 32 bytes of high bits in between; group g's are bit g of each."""
    packed = raw[:, 48:176].reshape(-1, 4, 1, 32)
    low = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    return _affine(raw, low | (_planes(raw[:, 16:48], 1) << np.uint8(4)))


def decode_q6_k(raw: Bytes) -> Floats:
    """Decode Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, half d.

    Each half of 128 elements: its 64 low bytes hold elements 0-63 in the low and 64-127 in the
    high nibbles; its 32 high bytes hold elements 0-31, 32-63, 64-95, 96-127 in their four pairs.
    """
    low = raw[:, 0:128].reshape(-1, 64)
    low = np.concatenate([low & 15, low >> 4], axis=1)
    high = _planes(raw[:, 128:192].reshape(-1, 32), 2).reshape(-1, 128)
    codes = (low | (high << 4)).astype(np.float32).reshape(-1, 16, 16) - 32
    scales = _half(raw, 208) * raw[:, 192:208].view(np.int8).astype(np.float32)
    return (scales[:, :, None] * codes).reshape(-1, 256)


def decode_q2_k(raw: Bytes) -> Floats:
    """Decode Q2_K: 16 bytes of 4-bit scales (low) and minimums (high), 64 of pairs, d, dmin.

    Each half of 128 elements: 32 bytes, whose four pairs hold elements 0-31, 32-63, 64-95, 96-127.
    """
    codes = _planes(raw[:, 16:80].reshape(-1, 32), 2).reshape(-1, 16, 16).astype(np.float32)
    scales = _half(raw, 80) * (raw[:, 0:16] & 15).astype(np.float32)
    minimums = _half(raw, 82) * (raw[:, 0:16] >> 4).astype(np.float32)
    return (scales[:, :, None] * codes - minimums[:, :, None]).reshape(-1, 256)


def decode_q3_k(raw: Bytes) -> Floats:
    """Decode Q3_K: 32 bytes of high bits, 64 of low pairs, 12 of 6-bit scales, half d.

    Pairs lie as in Q2_K. Bit g of the 32 high bytes belongs to elements 32g to 32g+31; a clear bit
    takes 4 away. Scale i has its low nibble in byte i % 8 (high half from i = 8 on) and its top two
    bits in byte 8 + i % 4 at 2 * (i // 4); 32 is taken away from it.
    """
    low = _planes(raw[:, 32:96].reshape(-1, 32), 2).reshape(-1, 256).astype(np.float32)
    high = _planes(raw[:, 0:32], 1).reshape(-1, 256).astype(np.float32)
    codes = (low + 4 * high - 4).reshape(-1, 16, 16)
    packed = raw[:, 96:108]
    nibble = np.concatenate([packed[:, 0:8] & 15, packed[:, 0:8] >> 4], axis=1)
    top = _planes(packed[:, 8:12], 2).reshape(-1, 16)
    scales = (nibble | (top << 4)).astype(np.float32) - 32
    wide: Floats = _half(raw, 108) * scales
    return (wide[:, :, None] * codes).reshape(-1, 256)
