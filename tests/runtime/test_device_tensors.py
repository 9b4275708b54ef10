from __future__ import annotations

import gc

import numpy as np
import pytest

from ferrylm.runtime.device_tensors import (
    ALIGNMENT_BYTES,
    Arena,
    aligned,
    aligned_bytes,
    aligned_zeros,
    array_bytes,
    as_array,
    as_tensor,
)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "int32", "float32"])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (64,), (0, 4), (2, 3, 7)])
def test_arrays_are_aligned_zeroed_and_sized_as_asked(dtype: str, shape: tuple[int, ...]) -> None:
    found = aligned_zeros(shape, dtype)
    assert found.shape == shape
    assert found.dtype == dtype
    assert found.size == 0 or found.ctypes.data % ALIGNMENT_BYTES == 0
    assert not found.any()
    assert array_bytes(shape, dtype) == found.nbytes
    assert found.nbytes <= aligned_bytes(shape, dtype) < found.nbytes + ALIGNMENT_BYTES


def test_arrays_of_an_arena_are_aligned_zeroed_and_apart() -> None:
    shapes = [(3,), (1, 1), (64,), (65,)]
    arena = Arena(sum(aligned_bytes(shape, "uint8") for shape in shapes))
    arrays = [arena.take(shape, "uint8") for shape in shapes]
    for number, array in enumerate(arrays, 1):
        assert array.ctypes.data % ALIGNMENT_BYTES == 0
        assert not array.any()
        array[...] = number
    for number, array in enumerate(arrays, 1):
        assert (array == number).all()


def test_memory_of_an_arena_outlives_it_in_an_array_and_in_a_tensor() -> None:
    array = Arena(4096).take((1024,), "float32")
    array[...] = 7
    tensor = as_tensor(array)
    del array
    gc.collect()
    assert (as_array(tensor) == 7).all()


def test_only_memory_that_is_not_fit_is_copied() -> None:
    fit = aligned_zeros((4, 16), "float32")
    assert aligned(fit) is fit
    for other in (fit.T, fit[:, 1:], aligned_zeros((65,), "uint8")[1:]):
        other[...] = 3
        copy = aligned(other)
        assert copy is not other
        assert copy.ctypes.data % ALIGNMENT_BYTES == 0
        assert copy.flags.c_contiguous
        np.testing.assert_array_equal(copy, other)


def test_memory_that_must_not_be_written_is_copied() -> None:
    constant = aligned_zeros((16,), "float32")
    constant.flags.writeable = False
    assert as_array(as_tensor(aligned(constant))).shape == (16,)


def test_a_tensor_shares_its_memory() -> None:
    array = aligned_zeros((5,), "int32")
    tensor = as_tensor(array)
    array[2] = 9
    assert as_array(tensor)[2] == 9
