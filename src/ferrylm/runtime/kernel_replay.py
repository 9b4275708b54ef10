"""The golden kernel vectors, replayed on a library: one operation of the model after another.

Inputs lie in memory as in a real step, with NaN where nothing may be read. Before the call that
counts, a function is called with other inputs and its outputs are spoilt, so that what it forgets
to write is not right by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrylm.runtime import golden_inputs as inputs
from ferrylm.runtime.attention_replay import replay_attention
from ferrylm.runtime.backends.base import Backend, Tensor
from ferrylm.runtime.comparison import Comparison, compare
from ferrylm.runtime.device_tensors import Array
from ferrylm.runtime.draw_replay import replay_draws
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.golden_format import (
    Golden,
    GoldenMatrix,
    KernelCase,
    KernelCheck,
    LibraryChecks,
    PackedTensor,
    expected_values,
    refused,
)
from ferrylm.runtime.manifest import Library, Manifest
from ferrylm.runtime.progress import Progress, ProgressCallback
from ferrylm.runtime.replay_buffers import ReplayBuffers, spoil_outputs

Outcome = tuple[str, str | None, str]  # name, what is wrong, how close it was
Packed = dict[tuple[PackedTensor, ...], list[Any]]

_LOUD = 3000.0  # an input unlike any other, whose traces must not be in the next call's output
_CALL_ERRORS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError)


def replay_kernels(
    manifest: Manifest,
    library: Library,
    executable: Executable,
    backend: Backend,
    golden: Golden,
    wanted: LibraryChecks,
    progress: ProgressCallback,
) -> Iterator[Outcome]:
    """Yield the outcome of every check of a library.

    Raises ArtifactError for a check that contradicts itself or the model, LibraryMismatchError
    for a function that the library lacks.
    """
    buffers = ReplayBuffers(library, executable, backend)
    done, total = 0, len(wanted.checks)
    for case in golden.cases:
        packed: Packed = {}  # the weights of one case at a time
        for check in wanted.checks:
            if check.case == case.name:
                progress(Progress("kernels", done, total, "checks"))
                done += 1
                function = executable.step(check.function)
                yield _outcome(_Replay(manifest, buffers, function, case, check), packed)
    progress(Progress("kernels", total, total, "checks"))


def _outcome(replay: _Replay, packed: Packed) -> Outcome:
    case, check = replay.case, replay.check
    try:
        found = replay.run(packed)
    except _CALL_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        found = Comparison(problem=f"the call failed ({reason})")
    problem = None
    if found.problem is not None:
        transforms = sorted({p.transform for p in check.parameters if p.transform is not None})
        packing = f" (weights packed by {', '.join(transforms)})" if transforms else ""
        problem = f"{case.name}: {found.problem}{packing}"
    detail = f"{found.count} numbers, largest error {found.worst:.2g} of what is allowed"
    return "kernel " + (" + ".join(check.kernels) or check.function), problem, detail


def row_windows(rows: int, batch: int | None) -> list[slice]:
    """Return which rows each call takes, so that all are taken; prefill takes all at once."""
    if batch is None:
        return [slice(0, rows)]
    starts = sorted({*range(0, rows - batch + 1, batch), max(0, rows - batch)})
    return [slice(start, start + batch) for start in starts]


class _Replay:
    """One check: a function of the library and the case it is to compute."""

    def __init__(
        self,
        manifest: Manifest,
        buffers: ReplayBuffers,
        function: Any,
        case: KernelCase,
        check: KernelCheck,
    ) -> None:
        self.case, self.check = case, check
        self._model, self._buffers, self._function = manifest.model, buffers, function

    def run(self, packed: Packed) -> Comparison:
        """Compare all rows; weights are packed once for the checks of a case."""
        case, check = self.case, self.check
        weights: list[Any] = []
        if case.matrix is not None:
            if check.parameters not in packed:
                packed[check.parameters] = self._buffers.weights(
                    case.name, case.matrix, check.parameters
                )
            weights = packed[check.parameters]
        if case.operation == "draw":
            return replay_draws(self._model, self._buffers, self._function, case, check)
        total = Comparison()
        for rows in row_windows(case.rows, check.batch):
            if case.matrix is None and case.operation != "select_row":
                part = replay_attention(
                    self._model, self._buffers, self._function, case, check, rows
                )
            elif case.matrix is None:
                part = self._select_row(rows)
            elif case.operation == "embed":
                part = self._embed(case.matrix, weights, rows)
            else:
                part = self._matmul(case.matrix, weights, rows)
            total = total.joined(part)
        return total

    def _matmul(self, matrix: GoldenMatrix, weights: list[Any], rows: slice) -> Comparison:
        case, check, buffers = self.case, self.check, self._buffers
        wanted, tolerance = expected_values(case, check.expected, (case.rows, inputs.PROTOTYPES))
        outputs = matrix.rows // 2 if matrix.pairs else matrix.rows
        order = inputs.prototype_rows(case.name, matrix)[:outputs]
        x = inputs.activations(case.name + " x", case.rows, matrix.columns)[rows]
        if case.operation == "norm_linear":
            extra = [inputs.gains(case.name + " gain", matrix.columns)]
        else:
            residual = inputs.plain(case.name + " residual", wanted.shape)[rows][:, order]
            extra = [buffers.activations(residual, check.batch, check.residual_width)]
        if case.epilogue == "post_norm":
            extra.append(inputs.gains(case.name + " post gain", inputs.PROTOTYPES)[order])
        if case.epilogue == "bias":
            extra.append(inputs.plain(case.name + " bias", (inputs.PROTOTYPES,))[order])
        backend = buffers.backend
        tokens = backend.upload(buffers.tokens(np.zeros(len(x)), check.batch))
        beside = [backend.upload(array) for array in extra]

        def call(activations: Array) -> Tensor:
            return self._function(tokens, *weights, backend.upload(activations), *beside)

        buffer = buffers.activations(x, check.batch, check.input_width)
        loud = buffers.activations(np.full_like(x, _LOUD), check.batch, check.input_width)
        spoil_outputs(backend, lambda: call(loud))
        output = backend.download(call(buffer))[: len(x), :outputs]
        return compare(output, wanted[rows][:, order], tolerance, "output")

    def _embed(self, matrix: GoldenMatrix, weights: list[Any], rows: slice) -> Comparison:
        case, batch = self.case, self.check.batch
        if matrix.rows > self._model.vocab_size:  # or tokens would be looked up past the end
            raise refused(
                f"an embedding of {matrix.rows} rows", f"at most {self._model.vocab_size}"
            )
        shape = (case.rows, matrix.columns)
        wanted, tolerance = expected_values(case, self.check.expected, shape)
        ids = inputs.tokens(case.name, case.rows, matrix.rows)

        backend = self._buffers.backend

        def call(chosen: npt.NDArray[np.int32]) -> Tensor:
            return self._function(backend.upload(self._buffers.tokens(chosen, batch)), *weights)

        spoil_outputs(backend, lambda: call(np.roll(ids, 1)[rows]))
        output = backend.download(call(ids[rows]))[: len(ids[rows]), : matrix.columns]
        return compare(output, wanted[rows], tolerance, "output")

    def _select_row(self, rows: slice) -> Comparison:
        case, check, buffers = self.case, self.check, self._buffers
        buffers.check_size("activations", (case.rows, case.width), "float32")
        x = inputs.activations(case.name + " x", case.rows, case.width)[rows]
        backend = buffers.backend
        buffer = backend.upload(buffers.activations(x, check.batch, check.input_width))
        tokens = backend.upload(buffers.tokens(np.zeros(len(x)), check.batch))
        total = Comparison()

        def call(row: int) -> Tensor:
            return self._function(tokens, buffer, backend.upload(np.array([row], np.int32)))

        for row in (len(x) - 1, 0, len(x) // 2):
            spoil_outputs(backend, lambda: call(0))
            wanted = x[row : row + 1].astype(np.float64)
            found = backend.download(call(row))[:1, : case.width]
            total = total.joined(compare(found, wanted, 1e-9, f"output for row {row}"))
        return total
