"""How keys and values lie in a page: the one place where the two layouts are written down.

head_dim_major  keys (P, Hkv, D, T), values (P, Hkv, T, D): a CPU's vector holds one column of
                several tokens.
vector8         keys (P, Hkv, ceil(D / 8), T, 8), values (P, Hkv, T, D padded to 8): a GPU's lane
                reads eight numbers of its token, and its neighbour those of the next token.

P pages, Hkv key-value heads, D numbers a head, T tokens a page. Padding is zero: kernels may read
it, and what they write there must be zero too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

HEAD_DIM_MAJOR = "head_dim_major"
VECTOR8 = "vector8"
KV_LAYOUTS = (HEAD_DIM_MAJOR, VECTOR8)

_VECTOR = 8

Array = npt.NDArray[Any]


def key_shape(layout: str, pages: Any, heads: int, head_dim: int, tokens: Any) -> tuple[Any, ...]:
    """Return the shape of one layer's keys; `pages` and `tokens` may be symbolic."""
    if layout == HEAD_DIM_MAJOR:
        return (pages, heads, head_dim, tokens)
    return (pages, heads, _vectors(head_dim), tokens, _VECTOR)


def value_shape(layout: str, pages: Any, heads: int, head_dim: int, tokens: Any) -> tuple[Any, ...]:
    """Return the shape of one layer's values; `pages` and `tokens` may be symbolic."""
    if layout == HEAD_DIM_MAJOR:
        return (pages, heads, tokens, head_dim)
    return (pages, heads, tokens, _VECTOR * _vectors(head_dim))


def token_numbers(layout: str, head_dim: int) -> int:
    """Return how many numbers one token takes in the keys, or the values, of one head."""
    return head_dim if layout == HEAD_DIM_MAJOR else _VECTOR * _vectors(head_dim)


def put_key(layout: str, keys: Array, page: int, slot: int, key: Array) -> None:
    """Write one token's key [heads, head_dim] into its slot; padding stays as it is."""
    if layout == HEAD_DIM_MAJOR:
        keys[page, :, :, slot] = key
        return
    for start in range(0, key.shape[1], _VECTOR):
        part = key[:, start : start + _VECTOR]
        keys[page, :, start // _VECTOR, slot, : part.shape[1]] = part


def put_value(values: Array, page: int, slot: int, value: Array) -> None:
    """Write one token's value [heads, head_dim] into its slot; padding stays as it is."""
    values[page, :, slot, : value.shape[1]] = value


def take_key(layout: str, keys: Array, page: int, slot: int, head_dim: int) -> Array:
    """Return one token's key, a copy [heads, head_dim]."""
    found = keys[key_slot(layout, page, slot)].reshape(keys.shape[1], -1)
    key: Array = found[:, :head_dim].copy()
    return key


def take_value(values: Array, page: int, slot: int, head_dim: int) -> Array:
    """Return one token's value, a copy [heads, head_dim]."""
    value: Array = values[page, :, slot, :head_dim].copy()
    return value


def clear_padding(layout: str, keys: Array, values: Array, head_dim: int) -> None:
    """Set what pads the heads of a whole pool to zero, as it is in an engine's."""
    if layout == HEAD_DIM_MAJOR:
        return
    values[..., head_dim:] = 0
    if head_dim % _VECTOR:
        keys[:, :, -1, :, head_dim % _VECTOR :] = 0


def key_slot(layout: str, page: int, slot: int) -> tuple[Any, ...]:
    """Return the index of all numbers of one token's key, padding too."""
    if layout == HEAD_DIM_MAJOR:
        return (page, slice(None), slice(None), slot)
    return (page, slice(None), slice(None), slot, slice(None))


def layer_bytes(
    layout: str, kv_dtype: str, heads: int, head_dim: int, pages: int, tokens: int
) -> int:
    """Return the memory of one layer's keys, which is also that of its values."""
    numbers = token_numbers(layout, head_dim) * heads * pages * tokens
    return numbers * np.dtype(kv_dtype).itemsize


def _vectors(head_dim: int) -> int:
    return -(-head_dim // _VECTOR)
