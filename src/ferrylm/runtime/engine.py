"""The engine: runs the step functions of a library on sequences of tokens, on any device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ferrylm.errors import UsageError
from ferrylm.runtime.ahead import Ahead, AheadStatistics
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import open_backend
from ferrylm.runtime.backends.base import Backend, DrawingBackend, Step, Tensor
from ferrylm.runtime.draw_slots import AnswerDraws
from ferrylm.runtime.draw_steps import new_ahead
from ferrylm.runtime.engine_plan import EnginePlan, plan_engine
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.kv_pages import PagePool, Sequence
from ferrylm.runtime.machine import choose_here
from ferrylm.runtime.page_storage import PageStorage
from ferrylm.runtime.parameters import load_parameters
from ferrylm.runtime.progress import ProgressCallback, ignore_progress
from ferrylm.runtime.rope import model_tables
from ferrylm.runtime.step_inputs import StepInputs, checked_tokens

TokenIds = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]
Report = npt.NDArray[np.int32]
Result = TypeVar("Result")


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
    """Choose library and device, check that all fits the device's memory, and load it.

    `threads` is for the CPU and defaults to the physical cores this process may use,
    `context_length` to the model's own, at most DEFAULT_CONTEXT. Raises NoLibraryError,
    DeviceError, MemoryLimitError, UsageError, IntegrityError, ArtifactError.
    """
    selection, machine = choose_here(artifact.manifest, device=device, target=target)
    plan = plan_engine(
        artifact.manifest,
        selection,
        machine.host,
        threads=threads,
        context_length=context_length,
        page_size=page_size,
        max_sequences=max_sequences,
    )
    artifact.verify_before_use()
    return Engine(artifact, plan, open_backend(selection.device, plan.threads), progress)


@dataclass(frozen=True)
class _DecodeStep:
    """One decode function with inputs at fixed addresses, so that it can be recorded."""

    inputs: StepInputs
    step: Step


class Engine:
    """One loaded model and its open sequences; not for several threads at once."""

    def __init__(
        self, artifact: Artifact, plan: EnginePlan, backend: Backend, progress: ProgressCallback
    ) -> None:
        """Load library and weights; `open_engine` is the usual way to get here."""
        model, library = artifact.manifest.model, plan.library
        self.library, self.memory_bytes, self.threads = library, plan.memory_bytes, plan.threads
        self.context_length, self.vocab_size = plan.context, model.vocab_size
        self.max_batch = plan.max_sequences
        self.backend = backend
        self._executable = Executable(artifact, library, backend)
        with backend.calling():
            self._prefill = self._executable.step("prefill")
            self._score = self._executable.step("score")
            self._decode = {b: self._executable.step(f"decode_{b}") for b in library.decode_batches}
            self._parameters = _tuple(
                load_parameters(artifact, library, self._executable, backend, progress)
            )
            self._rope = [backend.upload(table) for table in model_tables(model, plan.context)]
            self._storage = PageStorage(backend, model, library, plan.pages, plan.page_size)
            chunk_rows = -(-library.prefill_chunk // library.row_tile) * library.row_tile
            self._chunk = StepInputs(backend, chunk_rows, plan.pages // plan.max_sequences)
        self._keys, self._values = map(_tuple, self._storage.tensors())
        self._pool = PagePool(
            plan.page_size, plan.context, plan.max_sequences, self._storage.clear_values
        )
        self._decode_steps: dict[tuple[int, int], _DecodeStep] = {}
        self._ahead = self._new_ahead(plan) if library.draws else None

    def open_sequence(self) -> Sequence:
        """Open an empty sequence. Raises UsageError when `max_batch` are open."""
        return self._pool.open_sequence()

    @property
    def draws(self) -> bool:
        """Return whether the device draws tokens: `begin_drawing` and `next_reports` work."""
        return self._ahead is not None

    @property
    def memory_reader(self) -> Any:
        """Return what `measure_device_bandwidth` reads with, if the library has it."""
        return self._executable.memory_reader()

    @property
    def ahead_statistics(self) -> AheadStatistics | None:
        """Return how host and device got on while the device drew; None where it does not."""
        return None if self._ahead is None else self._ahead.statistics

    def close_sequence(self, sequence: Sequence) -> None:
        """Free the pages of a sequence; closing twice is harmless."""
        self._leave([sequence])
        self._pool.close_sequence(sequence)

    def begin_drawing(self, sequence: Sequence, draws: AnswerDraws) -> None:
        """Let the device decode `draws.last_id` and draw on, ahead of `next_reports`.

        That ends with `decode`, `prefill` or `close_sequence`, to which tokens that were not read
        were never drawn. Raises UsageError, ContextOverflowError.
        """
        checked_tokens(self.vocab_size, np.array([draws.last_id]))
        with self.backend.calling():
            self._drawing_ahead().begin(sequence, draws)

    def next_reports(self, sequences: list[Sequence]) -> list[Report]:
        """Append one token to each sequence; return what the device says of the next one each.

        int32 [REPORT] of draw_layout.py. Raises UsageError for a sequence that nothing is drawn
        for, and the device's errors.
        """
        with self.backend.calling():
            return self._run(lambda: self._drawing_ahead().next_reports(sequences))

    def prefill(self, sequence: Sequence, token_ids: TokenIds) -> Logits:
        """Append tokens; return float32 (vocab,), the logits after the last one.

        Raises UsageError for no token or one that is not in the vocabulary,
        ContextOverflowError.
        """
        last: Tensor = None
        with self.backend.calling():
            for chunk in self._chunks(sequence, token_ids):
                last = self._run_chunk(self._prefill, sequence, chunk, with_last_row=True)
            final: Logits = self._logits(last, 1)[0]
        return final

    def score(self, token_ids: TokenIds) -> Logits:
        """Return float32 (tokens, vocab): the logits after each token of a text of its own."""
        sequence = self.open_sequence()
        try:
            found = np.empty((len(token_ids), self.vocab_size), np.float32)
            done = 0
            with self.backend.calling():
                for chunk in self._chunks(sequence, token_ids):
                    logits = self._run_chunk(self._score, sequence, chunk, with_last_row=False)
                    found[done : done + len(chunk)] = self._logits(logits, len(chunk))
                    done += len(chunk)
            return found
        finally:
            self.close_sequence(sequence)

    def decode(self, sequences: list[Sequence], token_ids: TokenIds) -> Logits:
        """Append one token to each sequence; return float32 (sequences, vocab).

        A sequence's logits do not depend on the others. Raises as `prefill`.
        """
        ids = checked_tokens(self.vocab_size, token_ids)
        if len(ids) != len(sequences) or len(set(map(id, sequences))) != len(sequences):
            raise UsageError(
                f"{len(ids)} tokens for {len(sequences)} sequences",
                wanted="one token for each of different sequences",
                fix="pass one each",
            )
        for sequence in sequences:
            self._pool.check(sequence, 1)
        self._leave(sequences)
        found = np.empty((len(ids), self.vocab_size), np.float32)
        most = self.library.decode_batches[-1]
        with self.backend.calling():
            for sequence in sequences:
                self._pool.reserve(sequence, 1)
            for start in range(0, len(ids), most):
                part = slice(start, min(start + most, len(ids)))
                found[part] = self._decode_bucket(sequences[part], ids[part])
        for sequence in sequences:
            sequence.length += 1
        return found

    def close(self) -> None:
        """Give the memory back; the engine is of no use afterwards."""
        # Recordings first: they hold on to the addresses of what goes after them.
        for name in (
            "_ahead",
            "_decode_steps",
            "_chunk",
            "_rope",
            "_parameters",
            "_keys",
            "_values",
        ):
            self.__dict__.pop(name, None)
        for name in ("_pool", "_storage", "_prefill", "_score", "_decode", "_executable"):
            self.__dict__.pop(name, None)
        self.backend.close()

    def _new_ahead(self, plan: EnginePlan) -> Ahead:
        tensors = [*self._rope, self._keys, self._values]
        with self.backend.calling():
            return new_ahead(
                cast(DrawingBackend, self.backend), self._executable, plan, self.vocab_size,
                self._pool, tensors, self._parameters,
            )  # fmt: skip

    def _drawing_ahead(self) -> Ahead:
        if self._ahead is None:
            raise UsageError(
                f"a library for {self.library.target} without kernels that draw tokens",
                wanted="one with them",
                fix="compile the model again, or draw on the host",
            )
        return self._ahead

    def _leave(self, sequences: list[Sequence]) -> None:
        for sequence in sequences if self._ahead is not None else ():
            self._drawing_ahead().leave(sequence)

    def _decode_bucket(self, sequences: list[Sequence], ids: TokenIds) -> Logits:
        batch = next(b for b in self.library.decode_batches if b >= len(ids))
        width = self._pool.table_width(sequences)
        decode = self._decode_steps.get((batch, width))
        if decode is None:
            decode = self._decode_steps[batch, width] = self._new_decode_step(batch, width)
        lengths = [sequence.length for sequence in sequences]
        decode.inputs.write(ids, lengths, [sequence.pages for sequence in sequences])
        return self._logits(self._run(decode.step.run), len(ids))

    def _new_decode_step(self, batch: int, width: int) -> _DecodeStep:
        tile = min(batch, self.library.row_tile)
        inputs = StepInputs(self.backend, batch, batch * width)
        inputs.shape(batch // tile, tile, batch, width)
        arguments = (*inputs.tensors[:3], *self._rope, self._keys, self._values, self._parameters)
        function = self._decode[batch]
        return _DecodeStep(inputs, self.backend.repeated(lambda: function(*arguments)))

    def _chunks(self, sequence: Sequence, token_ids: TokenIds) -> list[TokenIds]:
        ids = checked_tokens(self.vocab_size, token_ids)
        self._leave([sequence])
        self._pool.reserve(sequence, len(ids))
        size = self.library.prefill_chunk
        return [ids[start : start + size] for start in range(0, len(ids), size)]

    def _run_chunk(
        self, step: Any, sequence: Sequence, chunk: TokenIds, *, with_last_row: bool
    ) -> Tensor:
        tile, inputs = self.library.row_tile, self._chunk
        inputs.shape(-(-len(chunk) // tile), tile, 1, self._pool.table_width([sequence]))
        positions = np.arange(sequence.length, sequence.length + len(chunk))
        inputs.write(chunk, positions, [sequence.pages])
        *tensors, last_row = inputs.tensors
        arguments = [*tensors, *self._rope, self._keys, self._values]
        arguments += [last_row] * with_last_row
        logits = self._run(lambda: step(*arguments, self._parameters))
        sequence.length += len(chunk)
        return logits

    def _run(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except (TypeError, ValueError) as error:
            # The library's own check of shapes and dtypes, before any of its kernels runs.
            wanted = "the tensors that the manifest describes"
            raise self._executable.mismatch("other inputs or parameters", wanted) from error

    def _logits(self, tensor: Tensor, rows: int) -> Logits:
        """Return the logits of the first rows, in memory of their own."""
        found: Logits = self.backend.read_rows(tensor, rows)[:, : self.vocab_size].copy()
        return found


def _tuple(tensors: list[Tensor]) -> object:
    import tvm_ffi

    return tvm_ffi.Array(tensors)
