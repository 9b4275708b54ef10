"""What lanes, words and matrix fragments give, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
LANES = 32


def over_lanes(reduce: Callable[..., Array], width: int) -> Callable[..., Array]:
    """Return the reduction of the first input over `width` adjacent threads, in each of them."""

    def reference(a: Array, *_: Array) -> Array:
        wide = a.astype(np.float64) if a.dtype.kind == "f" else a
        found = reduce(wide.reshape(-1, width, a.shape[1]), axis=1, keepdims=True)
        return np.repeat(found, width, axis=1).reshape(a.shape).astype(a.dtype)

    return reference


def from_lane(source: Callable[[Array], Array]) -> Callable[..., Array]:
    """Return the first input as other lanes of the same subgroup have it."""

    def reference(a: Array, *_: Array) -> Array:
        threads = np.arange(len(a))
        return a[threads // LANES * LANES + source(threads % LANES)]

    return reference


def dot4(a_dtype: str, b_dtype: str) -> Callable[..., Array]:
    """Return c + the sum of four products of bytes."""

    def reference(a: Array, b: Array, c: Array) -> Array:
        products = a.view(a_dtype).astype(np.int64) * b.view(b_dtype).astype(np.int64)
        return (c.astype(np.int64) + products.sum(axis=1, keepdims=True)).astype(np.int32)

    return reference


def on_halves(function: Callable[..., Array], count: int) -> Callable[..., Array]:
    """Return a function of float64 on each half of words, rounded once."""

    def reference(*words: Array) -> Array:
        halves = [word.view(np.float16).astype(np.float64) for word in words[:count]]
        return function(*halves).astype(np.float16).view(np.uint32)

    return reference


def matrix_product(dtype: str, depth: int) -> Callable[..., Array]:
    """Return d = a * b + c on the fragments of mma.m16n8kDEPTH (PTX ISA, "Matrix Fragments")."""
    per_word = 4 // np.dtype(dtype).itemsize

    def reference(a: Array, b: Array, c: Array) -> Array:
        out = np.empty_like(c)
        for first in range(0, len(a), LANES):
            warp = slice(first, first + LANES)
            out[warp] = _warp_product(a[warp].view(dtype), b[warp].view(dtype), c[warp])
        return out

    def _warp_product(a: Array, b: Array, c: Array) -> Array:
        left, right = np.zeros((16, depth)), np.zeros((depth, 8))
        for lane in range(LANES):
            group, place = lane // 4, lane % 4 * per_word
            for word in range(4):
                row, column = group + word % 2 * 8, place + word // 2 * depth // 2
                left[row, column : column + per_word] = a[lane].reshape(4, per_word)[word]
            for word in range(2):
                row = place + word * depth // 2
                right[row : row + per_word, group] = b[lane].reshape(2, per_word)[word]
        product = left @ right
        found = np.empty(c.shape)
        for lane in range(LANES):
            group, column = lane // 4, lane % 4 * 2
            found[lane, :2] = product[group, column : column + 2]
            found[lane, 2:] = product[group + 8, column : column + 2]
        return (found + c).astype(c.dtype)

    return reference
