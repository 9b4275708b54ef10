"""Copies between host and device, on every device of this machine that has memory of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from copying_backend import CopyingBackend

from ferrylm.runtime.backends import gpu, open_backend, probe_kind
from ferrylm.runtime.backends.base import Backend
from ferrylm.runtime.backends.cpu import CpuBackend


@pytest.fixture(params=["cpu", "a CPU that copies", "vulkan"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made: Backend
    if request.param == "vulkan":
        devices = probe_kind("vulkan").devices
        if not devices:
            pytest.skip(f"no Vulkan device: {probe_kind('vulkan').problem}")
        made = open_backend(devices[0], 1)
    else:
        made = CpuBackend(1) if request.param == "cpu" else CopyingBackend()
    yield made
    made.close()


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    generator = np.random.default_rng(7)
    return generator.integers(-100, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
def test_what_is_uploaded_comes_back(backend: Backend, dtype: str) -> None:
    array = numbers(5, 7, dtype=dtype)
    tensor = backend.upload(array)
    np.testing.assert_array_equal(backend.download(tensor), array)
    other = array[::-1].copy()
    backend.overwrite(tensor, other)
    np.testing.assert_array_equal(backend.download(tensor), other)


def test_an_array_that_is_not_contiguous_is_uploaded_too(backend: Backend) -> None:
    array = numbers(6, 8)[:, ::2]
    np.testing.assert_array_equal(backend.download(backend.upload(array)), array)


def test_a_tensor_is_filled_piece_by_piece_in_rising_order(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "PIECE_BYTES", 1000)
    content = numbers(3, 1111, dtype="uint8")
    flat, starts = content.reshape(-1), []

    def read(start: int, buffer: memoryview) -> None:
        starts.append(start)
        np.frombuffer(buffer, np.uint8)[...] = flat[start : start + len(buffer)]

    tensor = backend.arena(4096).take(content.shape, "uint8")
    backend.fill(tensor, content.nbytes, read)
    np.testing.assert_array_equal(backend.download(tensor), content)
    assert starts == sorted(set(starts))
    assert starts[0] == 0


def test_a_range_of_bytes_is_set_to_zero_and_nothing_beside_it(backend: Backend) -> None:
    array = numbers(100, 33) + 1000
    tensor = backend.upload(array)
    backend.zero(tensor, 4 * 33 * 10, 4 * 33 * 70)
    array[10:80] = 0
    np.testing.assert_array_equal(backend.download(tensor), array)


def test_more_zeros_than_fit_one_copy(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_ZEROS_BYTES", 256)
    tensor = backend.upload(numbers(10, 100) + 1000)
    backend.zero(tensor, 0, 4000)
    assert not backend.download(tensor).any()
    assert not backend.download(backend.arena(9000).take((9, 250), "float32", zeroed=True)).any()


def test_rows_are_read_without_the_rest(backend: Backend) -> None:
    array = numbers(8, 50)
    tensor = backend.upload(array)
    for rows in (1, 8, 3):
        np.testing.assert_array_equal(backend.read_rows(tensor, rows), array[:rows])


def test_a_mirror_keeps_its_address_whatever_its_shape(backend: Backend) -> None:
    mirror = backend.mirror(64)
    tensors = []
    for shape in ((4, 16), (3, 5), (1,)):
        array, tensor = mirror.shaped(shape)
        array[...] = numbers(*shape, dtype="int32")
        mirror.push()
        np.testing.assert_array_equal(backend.download(tensor), array)
        tensors.append(tensor)
    first = backend.download(tensors[0]).reshape(-1)
    assert first[0] == backend.download(tensors[2])[0]


def test_host_numbers_may_change_as_soon_as_they_are_pushed(backend: Backend) -> None:
    if backend.kind == "cpu" and isinstance(backend, CpuBackend):
        pytest.skip("the host's numbers are the device's")
    mirror = backend.mirror(1 << 16)
    array, tensor = mirror.shaped((1 << 16,))
    array[...] = 1
    mirror.push()
    array[...] = 2
    assert (backend.download(tensor) == 1).all()


def test_a_tensor_above_128_mib_is_whole(backend: Backend) -> None:
    """A Vulkan descriptor of lavapipe reaches no further; addresses do."""
    size = (130 << 20) // 4
    tensor = backend.arena(4 * size).take((size,), "int32", zeroed=True)

    def pattern(start: int, buffer: memoryview) -> None:
        target = np.frombuffer(buffer, np.int32)
        target[...] = np.arange(start // 4, start // 4 + len(target), dtype=np.int32)

    backend.fill(tensor, 4 * size, pattern)
    found = backend.download(tensor)
    assert (found == np.arange(size, dtype=np.int32)).all()


def test_a_step_that_is_made_again_sees_what_its_tensors_hold_then(backend: Backend) -> None:
    mirror = backend.mirror(64)
    array, source = mirror.shaped((64,))
    target = backend.upload(np.zeros(64, np.int32))

    def call() -> object:
        source.copyto(target)
        return target

    step = backend.repeated(call)
    for value in (3, 5, 8):
        array[...] = value
        mirror.push()
        with backend.calling():
            found = backend.read_rows(step.run(), 64)
        assert (found == value).all()
