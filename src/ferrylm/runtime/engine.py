"""The engine: runs the step functions of a library on sequences of tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]

from ferrylm.errors import MemoryLimitError, UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.cpu_features import host_cpu
from ferrylm.runtime.device_tensors import aligned, aligned_zeros, as_array, as_tensor
from ferrylm.runtime.executable import Executable, use_threads
from ferrylm.runtime.kv_pages import PagePool, Sequence, pool_bytes
from ferrylm.runtime.manifest import Library, Manifest
from ferrylm.runtime.parameters import load_parameters, parameter_bytes
from ferrylm.runtime.progress import ProgressCallback, ignore_progress
from ferrylm.runtime.rope import rope_tables
from ferrylm.runtime.selection import choose_library

DEFAULT_CONTEXT = 8192  # tokens at most, unless more are asked for
DEFAULT_PAGE_SIZE = 32  # tokens
_SPARE_BYTES = 64 << 20  # the interpreter and what else the process needs

TokenIds = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]


def open_engine(
    artifact: Artifact,
    *,
    device: str = "auto",
    target: str | None = None,
    threads: int | None = None,
    context_length: int | None = None,
    page_size: int | None = None,
    max_sequences: int = 1,
    progress: ProgressCallback = ignore_progress,
) -> Engine:
    """Choose the library for this machine, check that all fits the memory, and load it.

    `threads` defaults to the physical cores this process may use, `context_length` to the model's
    own, at most DEFAULT_CONTEXT. Raises NoLibraryError, MemoryLimitError, UsageError,
    IntegrityError, ArtifactError.
    """
    manifest = artifact.manifest
    host = host_cpu()
    library = choose_library(
        manifest, host, device=device, target=target, tvm_version=_tvm_version()
    ).library
    cores = min(host.physical_cores, len(os.sched_getaffinity(0)))
    context = _context(manifest, context_length)
    page = _page_size(library, page_size)
    _check_at_least_one("threads", threads if threads is not None else cores)
    _check_at_least_one("max_sequences", max_sequences)
    memory = _memory(manifest, library, context, page, max_sequences)
    _check_memory(manifest, memory)
    artifact.verify_before_use()
    pool = PagePool(manifest.model, library.kv_dtype, page, context, max_sequences)
    return Engine(artifact, library, pool, memory, threads or cores, progress)


class Engine:
    """One loaded model and its open sequences; not for several threads at once."""

    def __init__(
        self,
        artifact: Artifact,
        library: Library,
        pool: PagePool,
        memory_bytes: Mapping[str, int],
        threads: int,
        progress: ProgressCallback,
    ) -> None:
        """Load library and weights; `open_engine` is the usual way to get here."""
        model = artifact.manifest.model
        self.library, self.memory_bytes, self.threads = library, memory_bytes, threads
        self.context_length, self.vocab_size = pool.context, model.vocab_size
        self.max_batch = pool.max_sequences
        self._pool = pool
        self._executable = Executable(artifact, library)
        use_threads(threads)
        self._prefill = self._executable.step("prefill")
        self._score = self._executable.step("score")
        self._decode = {b: self._executable.step(f"decode_{b}") for b in library.decode_batches}
        self._parameters = _tuple(load_parameters(artifact, library, self._executable, progress))
        tables = rope_tables(model.rope, model.head_dim, pool.context, model.context_length)
        self._rope = [as_tensor(aligned(table)) for table in tables]
        self._keys = _tuple([as_tensor(keys) for keys in pool.keys])
        self._values = _tuple([as_tensor(values) for values in pool.values])

    def open_sequence(self) -> Sequence:
        """Open an empty sequence. Raises UsageError when `max_batch` are open."""
        return self._pool.open_sequence()

    def close_sequence(self, sequence: Sequence) -> None:
        """Free the pages of a sequence; closing twice is harmless."""
        self._pool.close_sequence(sequence)

    def prefill(self, sequence: Sequence, token_ids: TokenIds) -> Logits:
        """Append tokens; return float32 (vocab,), the logits after the last one.

        Raises UsageError for no token or one that is not in the vocabulary,
        ContextOverflowError.
        """
        last: Logits | None = None
        for chunk in self._chunks(sequence, token_ids):
            row = as_tensor(aligned(np.array([len(chunk) - 1], np.int32)))
            last = self._run_chunk(self._prefill, sequence, chunk, [row])
        assert last is not None, "there is at least one chunk"
        final: Logits = last[0, : self.vocab_size].copy()
        return final

    def score(self, token_ids: TokenIds) -> Logits:
        """Return float32 (tokens, vocab): the logits after each token of a text of its own."""
        sequence = self.open_sequence()
        try:
            found = np.empty((len(token_ids), self.vocab_size), np.float32)
            done = 0
            for chunk in self._chunks(sequence, token_ids):
                logits = self._run_chunk(self._score, sequence, chunk, [])
                found[done : done + len(chunk)] = logits[: len(chunk), : self.vocab_size]
                done += len(chunk)
            return found
        finally:
            self.close_sequence(sequence)

    def decode(self, sequences: list[Sequence], token_ids: TokenIds) -> Logits:
        """Append one token to each sequence; return float32 (sequences, vocab).

        A sequence's logits do not depend on the others. Raises as `prefill`.
        """
        ids = self._checked(token_ids)
        if len(ids) != len(sequences) or len(set(map(id, sequences))) != len(sequences):
            raise UsageError(
                f"{len(ids)} tokens for {len(sequences)} sequences",
                wanted="one token for each of different sequences",
                fix="pass one each",
            )
        for sequence in sequences:
            self._pool.check(sequence, 1)
        for sequence in sequences:
            self._pool.reserve(sequence, 1)
        found = np.empty((len(ids), self.vocab_size), np.float32)
        most = self.library.decode_batches[-1]
        for start in range(0, len(ids), most):
            part = slice(start, min(start + most, len(ids)))
            found[part] = self._decode_bucket(sequences[part], ids[part])
        for sequence in sequences:
            sequence.length += 1
        return found

    def close(self) -> None:
        """Give the memory back; the engine is of no use afterwards."""
        self.__dict__.pop("_parameters", None)
        self.__dict__.pop("_keys", None)
        self.__dict__.pop("_values", None)
        self.__dict__.pop("_pool", None)

    def _decode_bucket(self, sequences: list[Sequence], ids: TokenIds) -> Logits:
        count = len(ids)
        batch = next(b for b in self.library.decode_batches if b >= count)
        tile = min(batch, self.library.row_tile)
        tokens = aligned_zeros((batch // tile, tile), "int32")
        tokens.reshape(-1)[:count] = ids
        positions = aligned_zeros((batch,), "int32")
        positions[:] = -1
        positions[:count] = [sequence.length for sequence in sequences]
        tables = self._pool.block_tables(sequences, batch)
        logits = self._run(self._decode[batch], tokens, positions, tables, [])
        return logits[:count, : self.vocab_size]

    def _chunks(self, sequence: Sequence, token_ids: TokenIds) -> list[TokenIds]:
        ids = self._checked(token_ids)
        self._pool.reserve(sequence, len(ids))
        size = self.library.prefill_chunk
        return [ids[start : start + size] for start in range(0, len(ids), size)]

    def _run_chunk(
        self, step: object, sequence: Sequence, chunk: TokenIds, extra: list[object]
    ) -> Logits:
        tile = self.library.row_tile
        tiles = -(-len(chunk) // tile)
        tokens = aligned_zeros((tiles, tile), "int32")
        tokens.reshape(-1)[: len(chunk)] = chunk
        positions = aligned_zeros((tiles * tile,), "int32")
        positions[:] = -1
        positions[: len(chunk)] = np.arange(sequence.length, sequence.length + len(chunk))
        tables = self._pool.block_tables([sequence], 1)
        logits = self._run(step, tokens, positions, tables, extra)
        sequence.length += len(chunk)
        return logits

    def _run(
        self, step: object, tokens: object, positions: object, tables: object, extra: list[object]
    ) -> Logits:
        use_threads(self.threads)
        inputs = [as_tensor(array) for array in (tokens, positions, tables)]  # type: ignore[arg-type]
        try:
            found = step(  # type: ignore[operator]
                *inputs, *self._rope, self._keys, self._values, *extra, self._parameters
            )
        except (TypeError, ValueError) as error:
            # The library's own check of shapes and dtypes, before any of its kernels runs.
            wanted = "the tensors that the manifest describes"
            raise self._executable.mismatch("other inputs or parameters", wanted) from error
        return as_array(found)

    def _checked(self, token_ids: TokenIds) -> TokenIds:
        ids = np.ascontiguousarray(token_ids, np.int32)
        if ids.ndim != 1 or len(ids) == 0:
            raise UsageError(
                f"tokens of shape {ids.shape}", wanted="a row of one or more", fix="pass some"
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.vocab_size:
            raise UsageError(
                f"token ids from {low} to {high}",
                wanted=f"0 to {self.vocab_size - 1}",
                fix="use the tokenizer of this model",
            )
        return ids


def _tvm_version() -> str | None:
    """Return the installed TVM's version; None where TVM lies about without its metadata."""
    try:
        return version("apache-tvm")
    except PackageNotFoundError:
        return None


def _tuple(tensors: list[object]) -> object:
    import tvm_ffi

    return tvm_ffi.Array(tensors)


def _context(manifest: Manifest, asked: int | None) -> int:
    longest = manifest.model.context_length
    if asked is None:
        return min(longest, DEFAULT_CONTEXT)
    if not 1 <= asked <= longest:
        raise UsageError(
            f"a context of {asked} tokens",
            wanted=f"1 to {longest}, what the model was made for",
            fix="choose one in this range",
        )
    return asked


def _page_size(library: Library, asked: int | None) -> int:
    multiple = library.kv_page_multiple
    page = asked if asked is not None else max(DEFAULT_PAGE_SIZE, multiple)
    if page < 1 or page % multiple:
        raise UsageError(
            f"pages of {page} tokens", wanted=f"a multiple of {multiple}", fix="choose one"
        )
    return page


def _check_at_least_one(what: str, count: int) -> None:
    if count < 1:
        raise UsageError(f"{what} = {count}", wanted="1 or more", fix="choose more")


def _memory(
    manifest: Manifest, library: Library, context: int, page_size: int, sequences: int
) -> dict[str, int]:
    pages = sequences * -(-context // page_size)
    return {
        "weights": parameter_bytes(library),
        "kv": pool_bytes(manifest.model, library.kv_dtype, pages, page_size),
        "workspace": library.workspace_bytes,
    }


def _check_memory(manifest: Manifest, memory: Mapping[str, int]) -> None:
    needed = sum(memory.values()) + _SPARE_BYTES
    free = int(psutil.virtual_memory().available)
    if needed > free:
        parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in memory.items())
        raise MemoryLimitError(
            f"{free / 1e9:.2f} GB of free memory for {manifest.name}",
            wanted=f"{needed / 1e9:.2f} GB ({parts})",
            fix="load it with a shorter context or fewer sequences, or close other programs",
        )
