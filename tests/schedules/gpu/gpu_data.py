"""Inputs of GPU kernels in the layout of ferrylm.schedules.gpu.layout, and how to read results."""

from __future__ import annotations

import numpy as np

from ferrylm.schedules.gpu.layout import GROUP, RADIX, groups, padded

Array = np.ndarray
LARGEST = {1: 127, 2: 127 * RADIX + 126}
GARBAGE = np.float32(1e30)


def weights(canonical: dict[str, Array]) -> list[Array]:
    """Return canonical tensors as kernels take them: codes as words."""
    found = []
    for suffix, array in canonical.items():
        if suffix == "codes":
            array = np.ascontiguousarray(array).view(np.uint32)
            array = array.reshape(len(array), canonical["scale"].shape[1], -1)
        found.append(array)
    return found


def values_of(codes: Array) -> Array:
    """Return the whole numbers (M, G * 32) of codes uint32 (M, 2P, G, 4)."""
    m, parts, g, _ = codes.shape
    signed = np.ascontiguousarray(codes).view(np.int8).reshape(m, parts // 2, 2, g, 16)
    digits = signed.transpose(1, 0, 3, 2, 4).reshape(parts // 2, m, g * GROUP).astype(np.int64)
    return digits[0] if len(digits) == 1 else digits[0] * RADIX + digits[1]


def codes_of(values: Array, parts: int) -> Array:
    """Return codes uint32 (M, 2P, G, 4) of whole numbers (M, G * 32)."""
    m, g = len(values), values.shape[1] // GROUP
    digits = [values]
    if parts == 2:
        high = np.rint(values / RADIX)
        digits = [high, values - high * RADIX]
    packed = np.stack(digits, axis=1).astype(np.int8).reshape(m, parts, g, 2, 16)
    packed = np.ascontiguousarray(packed.transpose(0, 1, 3, 2, 4))
    return packed.reshape(m, 2 * parts, g, 16).view(np.uint32)


def terms_of(values: Array, scales: Array, squares: Array) -> Array:
    """Return terms uint32 (M, G, 4)."""
    m, g = scales.shape
    found = np.zeros((m, g, 4), np.uint32)
    found[..., 0] = scales.astype(np.float32).view(np.uint32)
    found[..., 1] = values.reshape(m, g, GROUP).sum(axis=2).astype(np.int32).view(np.uint32)
    found[..., 2] = squares.astype(np.float32).view(np.uint32)
    return found


def scaled(codes: Array, terms: Array) -> Array:
    """Return float64 (M, G * 32): what codes and terms stand for."""
    scales = np.ascontiguousarray(terms[..., 0]).view(np.float32).astype(np.float64)
    return values_of(codes) * np.repeat(scales, GROUP, axis=1)


def squares_of(terms: Array) -> Array:
    """Return float64 (M, G): the sums of squares."""
    return np.ascontiguousarray(terms[..., 2]).view(np.float32).astype(np.float64)


def sums_of(terms: Array) -> Array:
    """Return int32 (M, G): the sums of values."""
    return np.ascontiguousarray(terms[..., 1]).view(np.int32)


def random_activations(m: int, width: int, parts: int, seed: int) -> tuple[Array, Array]:
    """Return codes and terms of random rows; columns beyond `width` are zero."""
    generator = np.random.default_rng(seed)
    largest, g = LARGEST[parts], groups(width)
    values = generator.integers(-largest, largest + 1, (m, g * GROUP))
    values[:, width:] = 0
    scales = generator.random((m, g), np.float32) / largest
    squares = generator.random((m, g), np.float32) * GROUP
    return codes_of(values, parts), terms_of(values, scales, squares)


def random_rows(m: int, width: int, seed: int) -> Array:
    """Return float32 (M, padded(width)) with garbage in the columns of padding."""
    found = np.full((m, padded(width)), GARBAGE)
    found[:, :width] = np.random.default_rng(seed).standard_normal((m, width))
    return found


def zero_rows(m: int, width: int, seed: int) -> Array:
    """Return float32 (M, padded(width)) with zeros in the columns of padding."""
    found = random_rows(m, width, seed)
    found[:, width:] = 0
    return found
