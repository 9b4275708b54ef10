"""Move quantized weights of other formats into the canonical one without rounding them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.sources import k_quants

Bytes = NDArray[np.uint8]
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Groups:
    """Rows of canonical groups: codes [rows, bytes], scale and minimum float16 [rows, groups]."""

    codes: NDArray[np.uint8] | NDArray[np.int8]
    scale: Halves
    minimum: Halves | None = None

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by their suffix."""
        named: dict[str, NDArray[np.generic]] = {"codes": self.codes, "scale": self.scale}
        if self.minimum is not None:
            named["minimum"] = self.minimum
        return named


def pack_nibbles(codes: Bytes) -> Bytes:
    """Pack groups of 32 codes, uint8 [..., 32], into 16 bytes: elements 0-15 low, 16-31 high."""
    packed: Bytes = codes[..., :16] | (codes[..., 16:] << np.uint8(4))
    return packed


def _blocks(raw: Bytes, block_bytes: int) -> Bytes:
    return raw.reshape(raw.shape[0], -1, block_bytes)


def _half(blocks: Bytes, at: int) -> Halves:
    return np.ascontiguousarray(blocks[:, :, at : at + 2]).view("<f2")[:, :, 0]


def _rows(blocks: Bytes) -> Bytes:
    return np.ascontiguousarray(blocks).reshape(blocks.shape[0], -1)


def _q4_0(raw: Bytes, columns: int) -> Groups:
    blocks = _blocks(raw, 18)
    return Groups(_rows(blocks[:, :, 2:]), _half(blocks, 0))


def _q4_1(raw: Bytes, columns: int) -> Groups:
    blocks = _blocks(raw, 20)
    return Groups(_rows(blocks[:, :, 4:]), _half(blocks, 0), _half(blocks, 2))


def _q8_0(raw: Bytes, columns: int) -> Groups:
    blocks = _blocks(raw, 34)
    return Groups(_rows(blocks[:, :, 2:]).view(np.int8), _half(blocks, 0))


def _q4_k(raw: Bytes, columns: int) -> Groups:
    """Keep the codes; the products of super-block scale and group scale round to float16."""
    rows, blocks = raw.shape[0], np.ascontiguousarray(raw).reshape(-1, 144)
    with np.errstate(over="ignore", invalid="ignore"):
        scale, minimum = k_quants.group_affine(blocks)
        halves = [x.astype(np.float16).reshape(rows, -1) for x in (scale, minimum)]
    return Groups(pack_nibbles(k_quants.q4_k_codes(blocks)).reshape(rows, -1), *halves)


def _mlc_codes(blocks: Bytes, columns: int) -> Bytes:
    """Turn MLC's codes round: (q - 7) * s = (15 - q - 8) * -s; what pads a row becomes 8."""
    rows = blocks.shape[0]
    pairs = np.stack([blocks[:, :, :16] & 15, blocks[:, :, :16] >> 4], axis=3)
    codes = 15 - pairs.reshape(rows, -1)
    codes[:, columns:] = 8
    return pack_nibbles(codes.reshape(rows, -1, 32)).reshape(rows, -1)


def _mlc_q4f16_1(raw: Bytes, columns: int) -> Groups:
    blocks = _blocks(raw, 18)
    return Groups(_mlc_codes(blocks, columns), -_half(blocks, 16))


def _mlc_q4f32_1(raw: Bytes, columns: int) -> Groups:
    """Keep the codes; the float32 scales round to float16."""
    blocks = _blocks(raw, 20)
    scale = np.ascontiguousarray(blocks[:, :, 16:20]).view("<f4")[:, :, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        return Groups(_mlc_codes(blocks, columns), (-scale).astype(np.float16))


Repacker = Callable[[Bytes, int], Groups]

REPACKERS: dict[tuple[str, str], Repacker] = {
    ("Q4_0", "q4f16"): _q4_0,
    ("Q4_1", "q4f16"): _q4_1,
    ("Q4_K", "q4f16"): _q4_k,
    ("MLC_Q4F16_1", "q4f16"): _mlc_q4f16_1,
    ("MLC_Q4F32_1", "q4f16"): _mlc_q4f32_1,
    ("Q8_0", "q8f16"): _q8_0,
}

_WITH_MINIMUM = frozenset({"Q4_1", "Q4_K"})


def carries_minimum(encoding: str) -> bool:
    """Tell whether groups of this encoding keep a minimum in q4f16."""
    return encoding in _WITH_MINIMUM
