"""Memory that kernels work on: aligned, shared with numpy without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT_BYTES = 64  # what TVM's generated code takes for granted

Array = npt.NDArray[Any]


def aligned_zeros(shape: Sequence[int], dtype: str) -> Array:
    """Return a zeroed array whose memory the system commits only where it is touched."""
    size_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.zeros(size_bytes + ALIGNMENT_BYTES, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[skip : skip + size_bytes].view(dtype).reshape(shape)


def aligned(array: Array) -> Array:
    """Return the array itself if its memory is fit for a kernel, else a copy that is."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT_BYTES == 0:
        return array
    copy = aligned_zeros(array.shape, str(array.dtype))
    copy[...] = array
    return copy


def as_tensor(array: Array) -> Any:
    """Return a TVM tensor that shares the memory of an aligned array, and keeps it alive."""
    import tvm_ffi

    return tvm_ffi.from_dlpack(array)


def as_array(tensor: Any) -> Array:
    """Return a numpy view of a CPU tensor."""
    return np.from_dlpack(tensor)
