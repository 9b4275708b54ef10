"""What every kind of model source gives: a config, named tensors, tokenizer files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.sources.encodings import ENCODINGS, Encoding
from ferrylm.errors import SourceError
from ferrylm.runtime.manifest import GenerationDefaults

Bytes = NDArray[np.uint8]


class Rows(Protocol):
    """Something that hands out encoded rows; see `SourceTensor.read_rows`."""

    def read(self, start: int, stop: int) -> Bytes:
        """Return the encoded bytes of rows start to stop: uint8 [stop - start, row_bytes]."""


@dataclass(frozen=True)
class SourceTensor:
    """One tensor of a source, under its Hugging Face name, read piece by piece.

    `shape` is (rows, columns) or (n,). A vector counts as n rows of one column, so that it can be
    read in pieces too. `encoding` is a key of `encodings.ENCODINGS`.
    """

    name: str
    shape: tuple[int, ...]
    encoding: str
    rows: Rows = field(repr=False, compare=False)

    @property
    def row_count(self) -> int:
        """Return the number of rows that `read_rows` counts."""
        return self.shape[0]

    @property
    def columns(self) -> int:
        """Return the number of elements in a row."""
        return self.shape[1] if len(self.shape) == 2 else 1

    @property
    def format(self) -> Encoding:
        """Return the description of this tensor's encoding."""
        return ENCODINGS[self.encoding]

    @property
    def row_bytes(self) -> int:
        """Return the size of one encoded row."""
        return self.format.row_bytes(self.columns)

    def read_rows(self, start: int, stop: int) -> Bytes:
        """Read encoded rows into a fresh buffer: uint8 [stop - start, row_bytes].

        Raises SourceError when the file has become shorter or cannot be read.
        """
        if not 0 <= start <= stop <= self.row_count:
            raise SourceError(
                f"rows {start} to {stop} of tensor {self.name} were asked for",
                wanted=f"a range within its {self.row_count} rows",
                fix="report this as a defect of FerryLM",
            )
        return self.rows.read(start, stop)

    def dequantize(self, start_row: int = 0, stop_row: int | None = None) -> NDArray[np.float32]:
        """Read rows as float32: [rows, columns], or [rows] of a vector.

        Infinities and NaN pass through; whoever stores the values checks them.
        """
        stop = self.row_count if stop_row is None else stop_row
        raw = self.read_rows(start_row, stop)
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.format.decode(raw)[:, : self.columns]
        return values if len(self.shape) == 2 else values[:, 0]


@dataclass(frozen=True)
class ArrayRows:
    """Rows that already lie in memory."""

    encoded: Bytes

    def read(self, start: int, stop: int) -> Bytes:
        """Return a copy of the rows, so that no caller can change the tensor."""
        rows: Bytes = self.encoded[start:stop].copy()
        return rows


def tensor_from_array(name: str, values: NDArray[np.float32] | NDArray[np.float16]) -> SourceTensor:
    """Make a tensor of float32 or float16 values that lie in memory."""
    encoding = {"float32": "F32", "float16": "F16"}[str(values.dtype)]
    rows = np.ascontiguousarray(values).reshape(values.shape[0], -1)
    encoded = rows.astype(rows.dtype.newbyteorder("<")).view(np.uint8)
    return SourceTensor(name, tuple(values.shape), encoding, ArrayRows(encoded))


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer as the artifact stores it.

    `tokenizer_json` is the serialized object of the `tokenizers` package. If `add_bos`, encoding
    with special tokens begins with bos; `special_tokens` maps bos_token, eos_token, unk_token and
    pad_token to their texts, as chat templates are given them.
    """

    tokenizer_json: str = field(repr=False)
    chat_template: str | None = field(repr=False)
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    add_bos: bool
    special_tokens: dict[str, str]


def _nothing_to_close() -> None:
    """Close a source that keeps no file open."""


@dataclass(frozen=True)
class Source:
    """A model source, whatever its format; close it, or use it in a `with` statement.

    `kind` is gguf, huggingface, mlc or config. `config` has the keys of Hugging Face's config.json
    (see `config.py`), `tensors` its tensor names; a bare config.json has no tensors.
    """

    kind: str
    name: str
    config: dict[str, object]
    tensors: Mapping[str, SourceTensor] = field(repr=False)
    tokenizer: TokenizerFiles | None
    generation: GenerationDefaults
    on_close: Callable[[], None] = field(default=_nothing_to_close, repr=False, compare=False)

    def close(self) -> None:
        """Close the files; tensors can no longer be read."""
        self.on_close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
