"""Every encoding of a GGUF or MLC block, decoded one element at a time, in double precision.

Written from the descriptions of the formats (ggml's block structures; MLC's group quantization),
with loops and bit operations on Python integers, so that nothing is shared with the code under
test. Each takes the bytes of one block and returns its weights.
"""

from __future__ import annotations

import struct
from collections.abc import Callable


def _f16(raw: bytes, at: int) -> float:
    return float(struct.unpack_from("<e", raw, at)[0])


def _i8(value: int) -> int:
    return value - 256 if value > 127 else value


def f32(raw: bytes) -> list[float]:
    return [struct.unpack("<f", raw)[0]]


def f16(raw: bytes) -> list[float]:
    return [_f16(raw, 0)]


def bf16(raw: bytes) -> list[float]:
    return [struct.unpack("<f", b"\0\0" + raw)[0]]


def _nibble(raw: bytes, at: int, i: int) -> int:
    """Element i of 32: the low nibble of byte i, or the high one of byte i - 16."""
    return raw[at + i] & 15 if i < 16 else raw[at + i - 16] >> 4


def q4_0(raw: bytes) -> list[float]:
    return [_f16(raw, 0) * (_nibble(raw, 2, i) - 8) for i in range(32)]


def q4_1(raw: bytes) -> list[float]:
    return [_f16(raw, 0) * _nibble(raw, 4, i) + _f16(raw, 2) for i in range(32)]


def q5_0(raw: bytes) -> list[float]:
    high = struct.unpack_from("<I", raw, 2)[0]
    return [_f16(raw, 0) * ((_nibble(raw, 6, i) | ((high >> i) & 1) << 4) - 16) for i in range(32)]


def q5_1(raw: bytes) -> list[float]:
    high = struct.unpack_from("<I", raw, 4)[0]
    return [
        _f16(raw, 0) * (_nibble(raw, 8, i) | ((high >> i) & 1) << 4) + _f16(raw, 2)
        for i in range(32)
    ]


def q8_0(raw: bytes) -> list[float]:
    return [_f16(raw, 0) * _i8(raw[2 + i]) for i in range(32)]


def _scale_and_minimum(packed: bytes, j: int) -> tuple[int, int]:
    """Six-bit scale and minimum of group j of Q4_K and Q5_K."""
    if j < 4:
        return packed[j] & 63, packed[j + 4] & 63
    low = packed[j + 4]
    return (low & 15) | (packed[j - 4] >> 6) << 4, (low >> 4) | (packed[j] >> 6) << 4


def q4_k(raw: bytes) -> list[float]:
    values = []
    for i in range(256):
        group, within = divmod(i, 32)
        byte = raw[16 + 32 * (group // 2) + within]
        code = byte & 15 if group % 2 == 0 else byte >> 4
        scale, minimum = _scale_and_minimum(raw[4:16], group)
        values.append(_f16(raw, 0) * scale * code - _f16(raw, 2) * minimum)
    return values


def q5_k(raw: bytes) -> list[float]:
    values = []
    for i in range(256):
        group, within = divmod(i, 32)
        byte = raw[48 + 32 * (group // 2) + within]
        code = byte & 15 if group % 2 == 0 else byte >> 4
        code += 16 * ((raw[16 + within] >> group) & 1)
        scale, minimum = _scale_and_minimum(raw[4:16], group)
        values.append(_f16(raw, 0) * scale * code - _f16(raw, 2) * minimum)
    return values


def q6_k(raw: bytes) -> list[float]:
    values = []
    for i in range(256):
        half, within = divmod(i, 128)
        quarter, lane = divmod(within, 32)
        low = raw[64 * half + lane + 32 * (quarter % 2)]
        low = low & 15 if quarter < 2 else low >> 4
        high = (raw[128 + 32 * half + lane] >> (2 * quarter)) & 3
        scale = _i8(raw[192 + i // 16])
        values.append(_f16(raw, 208) * scale * ((low | high << 4) - 32))
    return values


def q2_k(raw: bytes) -> list[float]:
    values = []
    for i in range(256):
        half, within = divmod(i, 128)
        code = (raw[16 + 32 * half + within % 32] >> (2 * (within // 32))) & 3
        scales = raw[i // 16]
        values.append(_f16(raw, 80) * (scales & 15) * code - _f16(raw, 82) * (scales >> 4))
    return values


def q3_k(raw: bytes) -> list[float]:
    values = []
    for i in range(256):
        half, within = divmod(i, 128)
        low = (raw[32 + 32 * half + within % 32] >> (2 * (within // 32))) & 3
        high = (raw[i % 32] >> (i // 32)) & 1
        j = i // 16
        packed = raw[96:108]
        scale = packed[j] & 15 if j < 8 else packed[j - 8] >> 4
        scale |= ((packed[8 + j % 4] >> (2 * (j // 4))) & 3) << 4
        values.append(_f16(raw, 108) * (scale - 32) * (low - (0 if high else 4)))
    return values


def mlc_q4f16_1(raw: bytes) -> list[float]:
    words = struct.unpack_from("<4I", raw, 0)
    return [((words[i // 8] >> (4 * (i % 8)) & 15) - 7) * _f16(raw, 16) for i in range(32)]


def mlc_q4f32_1(raw: bytes) -> list[float]:
    words = struct.unpack_from("<4I", raw, 0)
    scale = struct.unpack_from("<f", raw, 16)[0]
    return [((words[i // 8] >> (4 * (i % 8)) & 15) - 7) * scale for i in range(32)]


SCALAR_DECODERS: dict[str, Callable[[bytes], list[float]]] = {
    "F32": f32, "F16": f16, "BF16": bf16, "Q4_0": q4_0, "Q4_1": q4_1, "Q5_0": q5_0,
    "Q5_1": q5_1, "Q8_0": q8_0, "Q2_K": q2_k, "Q3_K": q3_k, "Q4_K": q4_k, "Q5_K": q5_k,
    "Q6_K": q6_k, "MLC_Q4F16_1": mlc_q4f16_1, "MLC_Q4F32_1": mlc_q4f32_1,
}  # fmt: skip

# Where each encoding keeps floating-point numbers: (byte, format). Random bytes there would
# mostly be absurd, so tests put sane numbers in.
FLOAT_FIELDS: dict[str, list[tuple[int, str]]] = {
    "F32": [(0, "<f")], "F16": [(0, "<e")], "BF16": [], "Q4_0": [(0, "<e")],
    "Q4_1": [(0, "<e"), (2, "<e")], "Q5_0": [(0, "<e")], "Q5_1": [(0, "<e"), (2, "<e")],
    "Q8_0": [(0, "<e")], "Q2_K": [(80, "<e"), (82, "<e")], "Q3_K": [(108, "<e")],
    "Q4_K": [(0, "<e"), (2, "<e")], "Q5_K": [(0, "<e"), (2, "<e")], "Q6_K": [(208, "<e")],
    "MLC_Q4F16_1": [(16, "<e")], "MLC_Q4F32_1": [(16, "<f")],
}  # fmt: skip
