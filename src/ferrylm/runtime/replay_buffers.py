"""Activations and weights of the golden vectors, in memory as a library takes them.

Arrays are on the host; `backend` brings them to the device and results back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrylm.runtime import golden_inputs as inputs
from ferrylm.runtime.backends.base import Backend
from ferrylm.runtime.device_tensors import Array, aligned_zeros, array_bytes
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.golden_format import GoldenMatrix, PackedTensor, refused
from ferrylm.runtime.manifest import Library
from ferrylm.runtime.parameters import parameter_bytes
from ferrylm.runtime.tensor_types import ITEM_BYTES

_SPARE_BYTES = 64 << 20
_PAGE_SIZE = 32


class ReplayBuffers:
    """Makes the arguments of a library's functions, none larger than the model itself."""

    def __init__(self, library: Library, executable: Executable, backend: Backend) -> None:
        self._row_tile, self._executable = library.row_tile, executable
        self._padding = np.nan if library.kind == "cpu" else 0.0
        self.backend, self.kv_layout = backend, library.kv_layout
        self.page_size = max(_PAGE_SIZE, library.kv_page_multiple)
        self._limit_bytes = parameter_bytes(library) + _SPARE_BYTES

    def zeros(self, what: str, shape: tuple[int, ...], dtype: str) -> Array:
        """Return zeros; `what` names them. Raises ArtifactError if they are too large."""
        self.check_size(what, shape, dtype)
        return aligned_zeros(shape, dtype)

    def check_size(self, what: str, shape: tuple[int, ...], dtype: str) -> None:
        """Raise ArtifactError if an array is larger than the model or of an unknown type."""
        if dtype not in ITEM_BYTES or math.prod(shape) * ITEM_BYTES[dtype] > self._limit_bytes:
            raise refused(
                f"{what} of shape {list(shape)[:8]} in {dtype[:20]!a}",
                f"at most {self._limit_bytes} bytes, what the model takes",
            )

    def rows(self, count: int, batch: int | None) -> int:
        """Return the rows of a call: the batch, or in prefill whole tiles."""
        return batch if batch is not None else -(-count // self._row_tile) * self._row_tile

    def tokens(self, ids: npt.NDArray[np.generic], batch: int | None) -> Array:
        """Return int32 (tiles, rows of a tile), filled up with 0."""
        rows = self.rows(len(ids), batch)
        tile = min(rows, self._row_tile)
        tokens = aligned_zeros((rows // tile, tile), "int32")
        tokens.reshape(-1)[: len(ids)] = ids
        return tokens

    def activations(self, x: npt.NDArray[np.generic], batch: int | None, width: int) -> Array:
        """Return rows as a kernel takes them, rows of padding 1.

        Behind the last column is what may be there in a step: on a CPU anything, so NaN; on a GPU
        zeros, which every kernel writes and the next one counts on.
        """
        if width < x.shape[1]:
            raise refused(f"{x.shape[1]} numbers in rows of {width}", "rows that hold them")
        buffer = self.zeros("activations", (self.rows(len(x), batch), width), "float32")
        buffer[...] = self._padding
        buffer[:, : x.shape[1]] = 1
        buffer[: len(x), : x.shape[1]] = x
        return buffer

    def weights(
        self, name: str, matrix: GoldenMatrix, parameters: tuple[PackedTensor, ...]
    ) -> list[Any]:
        """Return a case's matrix, packed by the library's own functions."""
        bits = {"q4": 4, "q8": 8, "f16": 16, "f32": 32}[matrix.storage]
        self.check_size("a matrix", (matrix.rows, -(-matrix.columns * bits // 8)), "uint8")
        self.check_size("rows", (2 * inputs.PROTOTYPES, matrix.columns), "float32")
        known = inputs.suffixes(matrix)
        packed = []
        for parameter in parameters:
            if parameter.suffix not in known:
                raise refused(
                    f"the parameter {parameter.suffix[:80]!a}", "one of " + ", ".join(known)
                )
            self.check_size("a parameter", parameter.shape, parameter.dtype)
            packed.append(self._packed(inputs.canonical(name, matrix, parameter.suffix), parameter))
        return packed

    def _packed(self, canonical: Array, parameter: PackedTensor) -> Any:
        if parameter.transform is None:
            content = np.ascontiguousarray(canonical).reshape(-1).view(np.uint8)
            wanted = array_bytes(parameter.shape, parameter.dtype)
            if content.nbytes != wanted:
                raise refused(f"a parameter of {wanted} bytes", f"{content.nbytes}, as its source")
            return self.backend.upload(content.view(parameter.dtype).reshape(parameter.shape))
        target = self.backend.upload(self.zeros("a parameter", parameter.shape, parameter.dtype))
        source = self.backend.upload(canonical)
        self._executable.transform(parameter.transform)(source, target)
        self.backend.synchronize()  # the source must not be freed before
        return target


def spoil_outputs(backend: Backend, call: Callable[[], Any]) -> None:
    """Call a function and overwrite what it gave with NaN, until all its memory had its turn.

    The next call gets the same memory, so that what it forgets to write shows. A virtual machine
    holds one output until its next call, so two pieces of memory take turns.
    """
    for _ in range(3):
        output = call()
        shape = tuple(int(size) for size in output.shape)
        backend.overwrite(output, np.full(shape, np.nan, np.float32))
