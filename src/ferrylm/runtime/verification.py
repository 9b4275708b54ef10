"""Whether an artifact computes on this machine what it must: its golden data, replayed.

Neither a compiler nor the source model is needed. docs/verify.md says what is proved, and how.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ferrylm.errors import TokenizerError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import open_backend
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.golden_format import Golden, LibraryChecks
from ferrylm.runtime.golden_json import MAX_GOLDEN_BYTES, parse_golden
from ferrylm.runtime.kernel_replay import replay_kernels
from ferrylm.runtime.machine import choose_here
from ferrylm.runtime.progress import ProgressCallback, ignore_progress
from ferrylm.runtime.selection import Selection
from ferrylm.runtime.tokenizer import load_tokenizer
from ferrylm.runtime.trace_replay import replay_trace


@dataclass(frozen=True)
class Check:
    """One thing that was compared; `detail` says how close it was, or what differs first."""

    name: str
    passed: bool
    detail: str


def verify(
    artifact: Artifact,
    *,
    device: str = "auto",
    target: str | None = None,
    threads: int | None = None,
    progress: ProgressCallback = ignore_progress,
) -> list[Check]:
    """Run the library for this machine on the golden inputs and compare what it gives.

    The tokenizer is tried on the probe text, every kernel at the model's real shapes, and the
    whole model on a greedy trace. Hashes are checked of what is used; `Artifact.verify_all`
    checks the rest. A result that differs is a Check that did not pass.

    Raises ArtifactError for golden data that is malformed or asks for the impossible,
    NoLibraryError, MemoryLimitError, IntegrityError, UsageError.
    """
    manifest = artifact.manifest
    selection, machine = choose_here(manifest, device=device, target=target)
    if manifest.golden is None:
        return [Check("golden data", False, "the artifact has none: compile the model again")]
    golden = read_golden(artifact)
    cores = min(machine.host.physical_cores, len(os.sched_getaffinity(0)))
    return list(_checks(artifact, golden, selection, threads or cores, progress))


def read_golden(artifact: Artifact) -> Golden:
    """Read and check the golden data of an artifact that has some.

    Raises IntegrityError, ArtifactError.
    """
    entry = artifact.manifest.golden
    assert entry is not None, "the caller looked"
    return parse_golden(artifact.read_verified(entry, MAX_GOLDEN_BYTES), entry.path)


def _checks(
    artifact: Artifact,
    golden: Golden,
    selection: Selection,
    threads: int,
    progress: ProgressCallback,
) -> Iterator[Check]:
    library = selection.library
    if artifact.manifest.tokenizer is not None:
        yield _tokenizer_check(artifact)
    found = [entry for entry in golden.libraries if entry.target == library.target]
    if not found:
        yield Check(f"library {library.target}", False, "the golden data does not cover it")
        return
    wanted: LibraryChecks = found[0]
    where = _place(selection)
    backend = open_backend(selection.device, threads)
    try:
        with backend.calling():
            for name, problem, detail in replay_kernels(
                artifact.manifest,
                library,
                Executable(artifact, library, backend),
                backend,
                golden,
                wanted,
                progress,
            ):
                yield Check(name, problem is None, f"{where}: {problem or detail}")
    finally:
        backend.close()
    for name, problem, detail in replay_trace(
        artifact, library, _request(selection), golden, wanted.trace, threads, progress
    ):
        yield Check(name, problem is None, f"{where}: {problem or detail}")


def _place(selection: Selection) -> str:
    """Name the library, and the device and driver of a GPU."""
    device = selection.device
    if device is None:
        return selection.library.target
    return f"{selection.library.target} on {device.name} (driver {device.driver})"


def _request(selection: Selection) -> str:
    """Return the text that asks for the chosen device once more."""
    device = selection.device
    return "cpu" if device is None else f"{device.kind}:{device.index}"


def _tokenizer_check(artifact: Artifact) -> Check:
    try:
        load_tokenizer(artifact)
    except TokenizerError as problem:
        return Check("tokenizer", False, str(problem))
    return Check("tokenizer", True, "the probe text has the same tokens")
