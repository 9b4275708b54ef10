"""The golden greedy trace, replayed: the whole model, always given the golden tokens.

A model without a trace is compared with itself: prefill, scoring and one token after another must
agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import Engine, open_engine
from ferrylm.runtime.golden_format import Golden, Trace, TraceStep, TraceTolerance, refused
from ferrylm.runtime.golden_inputs import integers
from ferrylm.runtime.manifest import Library, ModelConfig
from ferrylm.runtime.progress import Progress, ProgressCallback

Outcome = tuple[str, str | None, str]
Logits = npt.NDArray[np.float32]

_OWN_TOKENS = 11  # of a model without a trace: some row tiles of prefill, and a part of one


def replay_trace(
    artifact: Artifact,
    library: Library,
    device: str,
    golden: Golden,
    tolerance: TraceTolerance,
    threads: int | None,
    progress: ProgressCallback,
) -> Iterator[Outcome]:
    """Yield the outcomes of whole steps of the model.

    Raises ArtifactError for a trace that the model cannot follow, and what `open_engine` does.
    """
    model, trace = artifact.manifest.model, golden.trace
    tokens = _tokens(model, trace)
    engine = open_engine(
        artifact,
        device=device,
        target=library.target,
        threads=threads,
        context_length=len(tokens),
        max_sequences=max(library.decode_batches),
        progress=progress,
    )
    try:
        if trace is None:
            yield _against_itself(engine, tokens, tolerance, golden.trace_note)
            return
        for done, (name, logits, indices) in enumerate(_runs(engine, trace, tokens)):
            progress(Progress("trace", done, len(library.decode_batches) + 1, "runs"))
            yield _compare(name, logits, [trace.steps[i] for i in indices], indices, tolerance)
    finally:
        engine.close()


def _tokens(model: ModelConfig, trace: Trace | None) -> npt.NDArray[np.int32]:
    """Return prompt and continuation; the last token of all is never read."""
    if trace is None:
        count = min(_OWN_TOKENS, model.context_length)
        return integers("own tokens", (count,), 0, model.vocab_size - 1).astype(np.int32)
    tokens = [*trace.prompt, *(step.token for step in trace.steps)]
    if len(tokens) > model.context_length or max(tokens) >= model.vocab_size:
        raise refused(
            f"a trace of {len(tokens)} tokens up to {max(tokens)}",
            f"at most {model.context_length} tokens below {model.vocab_size}",
        )
    return np.array(tokens, np.int32)


def _runs(
    engine: Engine, trace: Trace, tokens: npt.NDArray[np.int32]
) -> Iterator[tuple[str, Logits, list[int]]]:
    """Yield a name, logits, and the steps of the trace that they belong to."""
    first, count = len(trace.prompt), len(trace.steps)
    yield "greedy trace", _one_by_one(engine, tokens, first, count), list(range(count))
    scored = engine.score(tokens[:-1])[first - 1 :]
    yield "greedy trace in one prefill", scored, list(range(count))
    for batch in engine.library.decode_batches:
        # One more than the next smaller batch holds, so that the batch is not quite full.
        size = batch // 2 + 1
        if batch > 1 and count > 1:
            steps = [1 + 3 * i % (count - 1) for i in range(size)]
            yield f"greedy trace in batches of {batch}", _batch(engine, tokens, first, steps), steps


def _one_by_one(engine: Engine, tokens: npt.NDArray[np.int32], first: int, count: int) -> Logits:
    sequence = engine.open_sequence()
    try:
        found = [engine.prefill(sequence, tokens[:first])]
        for step in range(1, count):
            found.append(engine.decode([sequence], tokens[first + step - 1 : first + step])[0])
        return np.stack(found)
    finally:
        engine.close_sequence(sequence)


def _batch(
    engine: Engine, tokens: npt.NDArray[np.int32], first: int, steps: Sequence[int]
) -> Logits:
    sequences = [engine.open_sequence() for _ in steps]
    try:
        lasts = [first + step - 1 for step in steps]
        for sequence, last in zip(sequences, lasts, strict=True):
            engine.prefill(sequence, tokens[:last])
        return engine.decode(sequences, tokens[lasts])
    finally:
        for sequence in sequences:
            engine.close_sequence(sequence)


def _compare(
    name: str,
    logits: Logits,
    steps: Sequence[TraceStep],
    indices: Sequence[int],
    tolerance: TraceTolerance,
) -> Outcome:
    worst, ties = 0.0, 0
    for index, row, step in zip(indices, logits, steps, strict=True):
        found = int(np.argmax(row))
        if not np.isfinite(row).all():
            return name, f"step {index}: logits that are not finite", ""
        if found != step.token:
            lead = max(step.gap, float(row[found]) - float(row[step.token]))
            if lead > tolerance.gap * step.deviation:
                gap = f"{step.gap:.3g} ahead of the second"
                return name, f"step {index}: token {found}, wanted {step.token}, {gap}", ""
            ties += 1
        error = abs(float(row[step.token]) - step.logit) / step.deviation
        worst = max(worst, error)
        if error > tolerance.logit:
            value = f"{float(row[step.token]):.6g}, wanted {step.logit:.6g}"
            allowed = f"within {tolerance.logit * step.deviation:.2g}"
            return name, f"step {index}: token {step.token} has logit {value} {allowed}", ""
    close = f", {ties} near-ties decided otherwise" if ties else ""
    detail = f"{len(steps)} steps, largest error {worst:.2g} deviations of the logits{close}"
    return name, None, detail


def _against_itself(
    engine: Engine, tokens: npt.NDArray[np.int32], tolerance: TraceTolerance, note: str
) -> Outcome:
    name = "prefill against decode"
    scored = engine.score(tokens)
    single = _one_by_one(engine, np.append(tokens, 0), 1, len(tokens))
    for position, (one, other) in enumerate(zip(scored, single, strict=True)):
        deviation = float(np.std(one.astype(np.float64)))
        errors = np.abs(one.astype(np.float64) - other)
        if not errors.max() <= tolerance.logit * deviation:
            worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
            found = f"{float(other[worst]):.6g} in decode and {float(one[worst]):.6g} in prefill"
            return name, f"after token {position}, the logit of token {worst} is {found}", ""
    return name, None, f"{len(tokens)} tokens agree; no golden trace, because {note}"
