"""Memory that kernels work on: aligned, shared with numpy without a copy."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT_BYTES = 64  # what TVM's generated code takes for granted
_HUGE_PAGE_BYTES = 2 << 20

Array = npt.NDArray[Any]


class Arena:
    """One stretch of zeroed memory for many tensors, in huge pages where the system has them.

    Small pages cost the weight stream a third of its speed: each core has too few entries to
    translate the addresses of a model. Memory is committed when it is first touched.
    """

    def __init__(self, size_bytes: int) -> None:
        # Private, because the system gives shared memory no huge pages.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(-1, size_bytes + _HUGE_PAGE_BYTES, flags=flags)
        with contextlib.suppress(OSError, AttributeError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        everything = np.frombuffer(memory, np.uint8)
        skip = -everything.ctypes.data % _HUGE_PAGE_BYTES
        self._memory = everything[skip : skip + size_bytes]
        self._taken = 0

    def take(self, shape: Sequence[int], dtype: str) -> Array:
        """Return the next free, aligned, zeroed array."""
        size_bytes = array_bytes(shape, dtype)
        start, self._taken = self._taken, self._taken + aligned_bytes(shape, dtype)
        array: Array = self._memory[start : start + size_bytes].view(dtype).reshape(shape)
        return array


def array_bytes(shape: Sequence[int], dtype: str) -> int:
    """Return the size of an array."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def aligned_bytes(shape: Sequence[int], dtype: str) -> int:
    """Return what an arena spends on an array."""
    return -(-array_bytes(shape, dtype) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def aligned_zeros(shape: Sequence[int], dtype: str) -> Array:
    """Return a zeroed array of its own that is fit for a kernel."""
    size_bytes = array_bytes(shape, dtype)
    raw = np.zeros(size_bytes + ALIGNMENT_BYTES, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[skip : skip + size_bytes].view(dtype).reshape(shape)


def aligned(array: Array) -> Array:
    """Return the array itself if its memory is fit for a kernel, else a copy that is."""
    # DLPack has no word for memory that must not be written.
    fit = array.flags.c_contiguous and array.flags.writeable
    if fit and array.ctypes.data % ALIGNMENT_BYTES == 0:
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
