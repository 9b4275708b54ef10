"""The stored weights of an artifact: safetensors shards, hashed in full before first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ferrylm.errors import ArtifactError, IntegrityError
from ferrylm.runtime.file_hash import read_exactly
from ferrylm.runtime.folder_files import FIX, open_regular, unreadable, verify_fd
from ferrylm.runtime.manifest import FileEntry, TensorEntry, Weights
from ferrylm.runtime.safetensors_file import Header, read_header
from ferrylm.runtime.tensor_types import SAFETENSORS_NAMES

_Stamp = tuple[int, int]


@dataclass(frozen=True)
class _Shard:
    """An open shard whose content had the right hash when its stamp was taken."""

    entry: FileEntry
    fd: int
    stamp: _Stamp
    header: Header


class WeightShards:
    """Reads tensors of hashed shards; any thread may call any method.

    Shards are read, never mapped: a mapped file that is truncated by somebody else ends the
    process with SIGBUS, a read of it ends with an error.
    """

    def __init__(self, weights: Weights, folder_fd: int) -> None:
        """Open nothing yet; `folder_fd` must stay open and is not taken over."""
        self._weights = weights
        self._folder_fd = folder_fd
        self._tensors = {tensor.name: tensor for tensor in weights.tensors}
        self._locks = [threading.Lock() for _ in weights.files]
        self._open: dict[int, _Shard] = {}

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Return one tensor in memory of its own, at most one copy of it in memory at a time.

        Raises IntegrityError, and ArtifactError for a name that is not stored.
        """
        tensor = self._stored(name)
        array = np.empty(tensor.shape, dtype=np.dtype(tensor.dtype))
        self.read_part(name, 0, memoryview(array.reshape(-1).view(np.uint8).data))
        return array

    def read_part(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes of a tensor from `start` on. Raises as `read`."""
        file = self._stored(name).file
        assert file is not None, "a stored tensor has a file"
        shard = self._shard(file)
        place = shard.header.tensors[name]
        assert 0 <= start <= start + len(buffer) <= place.size_bytes, "a part of the tensor"
        try:
            whole = read_exactly(shard.fd, buffer, place.offset + start)
            changed = not whole or _stamp(shard.fd) != shard.stamp
        except OSError as problem:
            raise unreadable(shard.entry, problem) from None
        if changed:
            raise _changed(shard.entry)

    def iterate(self, hash_threads: int) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        """Yield all stored tensors in the manifest's order; shards ahead are hashed meanwhile."""
        pool = ThreadPoolExecutor(hash_threads)
        try:
            for index in range(len(self._weights.files)):
                pool.submit(self._shard, index)
            for tensor in self._weights.tensors:
                if tensor.file is not None:
                    yield tensor.name, self.read(tensor.name)
        finally:
            pool.shutdown(cancel_futures=True)

    def verify(self, hash_threads: int) -> None:
        """Hash every shard now; later reads do not hash again. Raises IntegrityError."""
        with ThreadPoolExecutor(hash_threads) as pool:
            for _ in pool.map(self._shard, range(len(self._weights.files))):
                pass

    def close(self) -> None:
        """Close all shards."""
        while self._open:
            os.close(self._open.popitem()[1].fd)

    def _stored(self, name: str) -> TensorEntry:
        tensor = self._tensors.get(name)
        if tensor is None or tensor.file is None:
            raise ArtifactError(
                f"the tensor {name[:80]!a} is not stored",
                wanted="a tensor that the manifest places in a file",
                fix="ask for a tensor of weights.tensors, and make random weights from their seed",
            )
        return tensor

    def _shard(self, index: int) -> _Shard:
        with self._locks[index]:
            shard = self._open.get(index)
            if shard is None:
                shard = self._open[index] = self._open_shard(index)
            return shard

    def _open_shard(self, index: int) -> _Shard:
        entry = self._weights.files[index]
        fd = open_regular(entry.path, self._folder_fd)
        try:
            stamp = _stamp(fd)
            verify_fd(fd, entry)
            header = read_header(fd, entry.size_bytes, what=entry.path, error=IntegrityError)
            _check_tensors(entry, header, [t for t in self._weights.tensors if t.file == index])
            if _stamp(fd) != stamp:
                raise _changed(entry)
        except BaseException:
            os.close(fd)
            raise
        return _Shard(entry, fd, stamp, header)


def _stamp(fd: int) -> _Stamp:
    """Tell one state of a file's content from another.

    Not by st_ctime: it changes as well when a new compile unlinks the file, which harms nobody
    who has it open.
    """
    status = os.fstat(fd)
    return (status.st_size, status.st_mtime_ns)


def _check_tensors(entry: FileEntry, header: Header, wanted: list[TensorEntry]) -> None:
    """Refuse a shard whose tensors are not exactly the manifest's of that file."""
    found = {name: (place.dtype, place.shape) for name, place in header.tensors.items()}
    listed = {tensor.name: (SAFETENSORS_NAMES[tensor.dtype], tensor.shape) for tensor in wanted}
    if found == listed:
        return
    differing = sorted(
        name for name in found.keys() | listed.keys() if found.get(name) != listed.get(name)
    )
    name = differing[0]
    raise IntegrityError(
        f"{entry.path} holds {name[:80]!a} as {_describe(found.get(name))}",
        wanted=f"{_describe(listed.get(name))}, as the manifest says",
        fix=FIX,
    )


def _describe(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if tensor is None else f"{tensor[0]} of shape {list(tensor[1])}"


def _changed(entry: FileEntry) -> IntegrityError:
    return IntegrityError(
        f"{entry.path} changed while it was read",
        wanted="a published file, which nobody changes",
        fix="stop what writes into the artifact, then load it again",
    )
