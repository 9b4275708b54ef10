"""The canonical weight formats: from source tensors to stored arrays and back.

docs/quantization.md draws the layout. `decode` is its exact definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.quantize_repack import REPACKERS, Groups, carries_minimum
from ferrylm.compile.quantize_round import round_q4, round_q4_affine, round_q8
from ferrylm.compile.sources.source import SourceTensor
from ferrylm.errors import SourceError, UsageError

GROUP_SIZE = 32
SCHEMES = ("q4f16", "q8f16", "q0f16", "q0f32")

Array = NDArray[np.generic]
Layout = dict[str, tuple[str, tuple[int, ...]]]

# A piece and its temporaries stay in the second-level cache, and no tensor is in memory twice.
_PIECE_ELEMENTS = 1 << 16


def tensor_layout(scheme: str, rows: int, columns: int, with_minimum: bool = False) -> Layout:
    """Return dtype and shape of each stored array of a [rows, columns] weight, by suffix.

    Raises UsageError for an unknown scheme.
    """
    groups = -(-columns // GROUP_SIZE)
    padded = groups * GROUP_SIZE
    if scheme == "q4f16":
        layout: Layout = {
            "codes": ("uint8", (rows, padded // 2)),
            "scale": ("float16", (rows, groups)),
        }
        if with_minimum:
            layout["minimum"] = ("float16", (rows, groups))
        return layout
    if scheme == "q8f16":
        return {"codes": ("int8", (rows, padded)), "scale": ("float16", (rows, groups))}
    if scheme in ("q0f16", "q0f32"):
        return {"weight": ("float" + scheme[3:], (rows, columns))}
    raise UsageError(
        f"quantization {scheme!r}",
        wanted="one of " + ", ".join(SCHEMES),
        fix="choose one of these with --quant",
    )


def bits_per_weight(scheme: str, with_minimum: bool = False) -> float:
    """Return the stored bits of one weight, scales and minimums counted, padding not."""
    layout = tensor_layout(scheme, 1, GROUP_SIZE, with_minimum)
    stored_bytes = sum(np.dtype(dtype).itemsize * shape[1] for dtype, shape in layout.values())
    return stored_bytes * 8 / GROUP_SIZE


def encode(tensors: SourceTensor | Sequence[SourceTensor], scheme: str) -> dict[str, Array]:
    """Encode a weight matrix, or several put under each other, into its canonical arrays.

    The keys are those of `tensor_layout`. Weights that already lie in an equal format are copied
    bit by bit: Q4_0, Q4_1 and MLC's q4 to q4f16, Q8_0 to q8f16, F16 to q0f16. Q4_K keeps its codes
    and rounds its scales to float16. All else is rounded anew.

    Raises SourceError for a weight that is not finite or does not fit float16.
    """
    parts = [tensors] if isinstance(tensors, SourceTensor) else list(tensors)
    columns = _common_columns(parts)
    minimum = scheme == "q4f16" and any(carries_minimum(part.encoding) for part in parts)
    layout = tensor_layout(scheme, sum(part.row_count for part in parts), columns, minimum)
    arrays = {suffix: np.empty(shape, dtype) for suffix, (dtype, shape) in layout.items()}
    done = 0
    for part in parts:
        for start, stop in _pieces(part):
            piece = _encode_piece(part, start, stop, scheme, minimum)
            for suffix, array in arrays.items():
                array[done : done + stop - start] = piece[suffix]
            done += stop - start
    return arrays


def encode_vector(tensor: SourceTensor) -> NDArray[np.float32]:
    """Read a norm or bias vector as float32. Raises SourceError if a value is not finite."""
    return _finite(tensor, tensor.dequantize())


def decode(arrays: Mapping[str, Array], scheme: str, columns: int) -> NDArray[np.float32]:
    """Return the weights that canonical arrays mean: float32 [rows, columns]."""
    if "weight" in arrays:
        return arrays["weight"].astype(np.float32)
    scale = arrays["scale"].astype(np.float32)[:, :, None]
    rows, groups, _ = scale.shape
    codes = arrays["codes"].reshape(rows, groups, -1)
    if scheme == "q8f16":
        values = scale * codes.astype(np.float32)
    else:
        packed = codes.astype(np.uint8)
        unpacked = np.concatenate([packed & 15, packed >> 4], axis=2).astype(np.float32)
        if "minimum" in arrays:
            values = scale * unpacked + arrays["minimum"].astype(np.float32)[:, :, None]
        else:
            values = scale * (unpacked - 8)
    result: NDArray[np.float32] = values.reshape(rows, -1)[:, :columns]
    return result


def _common_columns(parts: Sequence[SourceTensor]) -> int:
    columns = {part.columns for part in parts}
    if len(columns) != 1 or any(len(part.shape) != 2 for part in parts):
        raise SourceError(
            "shapes " + ", ".join(f"{part.name} {part.shape}" for part in parts),
            wanted="one or more matrices with equal columns",
            fix="check that the weights belong to the config",
        )
    return columns.pop()


def _pieces(part: SourceTensor) -> Iterator[tuple[int, int]]:
    rows = max(1, _PIECE_ELEMENTS // max(1, part.columns))
    for start in range(0, part.row_count, rows):
        yield start, min(start + rows, part.row_count)


def _encode_piece(
    part: SourceTensor, start: int, stop: int, scheme: str, minimum: bool
) -> Mapping[str, Array]:
    repack = REPACKERS.get((part.encoding, scheme))
    if repack is not None:
        groups = repack(part.read_rows(start, stop), part.columns)
        if minimum and groups.minimum is None:
            with np.errstate(over="ignore"):
                # Exact: a power of two times a float16 is one, short of overflow.
                groups = Groups(groups.codes, groups.scale, groups.scale * np.float16(-8))
        return _checked(part, groups).arrays()
    values = part.dequantize(start, stop)
    if scheme == "q0f32":
        return {"weight": _finite(part, values)}
    if scheme == "q0f16":
        with np.errstate(over="ignore"):
            return {"weight": _finite(part, values.astype(np.float16))}
    groups_of_32 = _in_groups(_finite(part, values))
    if scheme == "q8f16":
        return _checked(part, round_q8(groups_of_32)).arrays()
    rounder = round_q4_affine if minimum else round_q4
    return _checked(part, rounder(groups_of_32)).arrays()


def _in_groups(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Split rows into groups, padding the last one with zeros: [rows, groups, 32]."""
    padding = -values.shape[1] % GROUP_SIZE
    if padding:
        values = np.pad(values, ((0, 0), (0, padding)))
    return values.reshape(values.shape[0], -1, GROUP_SIZE)


def _checked(part: SourceTensor, groups: Groups) -> Groups:
    _finite(part, groups.scale)
    if groups.minimum is not None:
        _finite(part, groups.minimum)
    return groups


def _finite(part: SourceTensor, values: NDArray[np.floating]) -> NDArray[np.floating]:
    if not np.isfinite(values).all():
        raise SourceError(
            f"tensor {part.name} holds values that are not finite in {values.dtype}",
            wanted="finite weights within the range of the chosen quantization",
            fix="check the source file, or choose q0f32",
        )
    return values
