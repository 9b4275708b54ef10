"""What the engine refuses, and that a refusal changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ferrylm.errors import (
    ContextOverflowError,
    FerryError,
    LibraryMismatchError,
    MemoryLimitError,
    UsageError,
)
from ferrylm.runtime import engine as engine_module
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import Engine
from ferrylm.runtime.manifest import Library, Manifest
from ferrylm.runtime.manifest_json import to_json, with_artifact_id
from ferrylm.runtime.strict_json import dumps_canonical
from tests.engine.built_artifacts import Build
from tests.engine.opened import OpenEngine, prefilled, stepped, token_ids

Opened = tuple[Artifact, Engine]


def ids_of(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


def refused_prefills(engine: Engine) -> dict[str, tuple[type[FerryError], np.ndarray]]:
    return {
        "no token": (UsageError, ids_of()),
        "a table of tokens": (UsageError, np.zeros((2, 2), np.int32)),
        "a negative id": (UsageError, ids_of(0, -1, 0)),
        "an id past the vocabulary": (UsageError, ids_of(0, engine.vocab_size)),
        "too many tokens": (ContextOverflowError, np.zeros(engine.context_length, np.int32)),
    }


def test_a_refused_prefill_changes_nothing(plain: Opened) -> None:
    _, engine = plain
    ids = token_ids(engine, 40)
    wanted = stepped(engine, ids)
    sequence, _ = prefilled(engine, ids[:30])
    free = engine._pool.free_pages
    for what, (error, bad) in refused_prefills(engine).items():
        with pytest.raises(error):
            engine.prefill(sequence, bad)
        assert (sequence.length, engine._pool.free_pages) == (30, free), what
    np.testing.assert_array_equal(engine.prefill(sequence, ids[30:]), wanted[-1])


def test_a_refused_score_leaves_no_sequence_open(plain: Opened) -> None:
    _, engine = plain
    free = engine._pool.free_pages
    for error, bad in refused_prefills(engine).values():
        if error is ContextOverflowError:
            bad = np.zeros(engine.context_length + 1, np.int32)
        with pytest.raises(error):
            engine.score(bad)
    assert engine._pool.free_pages == free
    for _ in range(engine.max_batch):
        engine.open_sequence()


def test_a_refused_decode_changes_none_of_the_sequences(plain: Opened) -> None:
    _, engine = plain
    ids = token_ids(engine, 33)
    wanted = stepped(engine, ids)
    # A sequence of 32 tokens needs a new page for the next one.
    sequence, _ = prefilled(engine, ids[:32])
    full, _ = prefilled(engine, token_ids(engine, engine.context_length))
    closed = engine.open_sequence()
    engine.close_sequence(closed)
    refusals: list[tuple[type[FerryError], list, np.ndarray]] = [
        (UsageError, [sequence], ids_of(engine.vocab_size)),
        (UsageError, [sequence], ids_of(-1)),
        (UsageError, [sequence], ids_of(1, 2)),
        (UsageError, [sequence, sequence], ids_of(1, 2)),
        (UsageError, [], ids_of()),
        (UsageError, [sequence, closed], ids_of(1, 2)),
        (ContextOverflowError, [sequence, full], ids_of(1, 2)),
    ]
    free = engine._pool.free_pages
    for error, sequences, bad in refusals:
        with pytest.raises(error):
            engine.decode(sequences, bad)
        assert sequence.length == 32
        assert full.length == engine.context_length
        assert engine._pool.free_pages == free, (error, bad)
    np.testing.assert_array_equal(engine.decode([sequence], ids[32:])[0], wanted[32])


def test_a_context_can_be_filled_to_its_last_token(open_engine: OpenEngine) -> None:
    for recipe in ("plain", "int8"):
        _, engine = open_engine(recipe)
        ids = token_ids(engine, engine.context_length)
        sequence, _ = prefilled(engine, ids[:-1])
        last = engine.decode([sequence], ids[-1:])[0]
        with pytest.raises(ContextOverflowError, match=f"at most {engine.context_length}"):
            engine.decode([sequence], ids[-1:])
        engine.close_sequence(sequence)
        np.testing.assert_array_equal(prefilled(engine, ids)[1], last)


def test_one_sequence_too_many_is_refused_until_one_is_closed(plain: Opened) -> None:
    _, engine = plain
    opened = [engine.open_sequence() for _ in range(engine.max_batch)]
    with pytest.raises(UsageError, match="open sequences"):
        engine.open_sequence()
    engine.close_sequence(opened[3])
    engine.close_sequence(opened[3])
    engine.open_sequence()
    with pytest.raises(UsageError, match="open sequences"):
        engine.open_sequence()


def test_options_that_make_no_sense_are_refused(open_engine: OpenEngine) -> None:
    for options in (
        {"threads": 0},
        {"threads": -1},
        {"max_sequences": 0},
        {"context_length": 0},
        {"context_length": 193},
        {"page_size": 0},
        {"page_size": 33},
        {"page_size": -32},
    ):
        with pytest.raises(UsageError):
            open_engine("plain", **options)


def test_a_model_that_does_not_fit_the_memory_is_refused_with_its_figures(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = psutil.virtual_memory()._replace(available=1 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: few)
    with pytest.raises(MemoryLimitError, match=r"wanted .* GB \(weights .*, kv .*, workspace .*\)"):
        open_engine("plain")


def test_the_memory_plan_is_what_the_engine_takes(open_engine: OpenEngine) -> None:
    for recipe in ("plain", "int16", "odd columns"):
        artifact, engine = open_engine(recipe, max_sequences=3, context_length=32)
        library, pages = engine.library, [t for pair in engine._storage.tensors() for t in pair]
        taken = sum(engine.backend.download(tensor).nbytes for tensor in pages)
        assert engine.memory_bytes["kv"] == taken
        sizes = [int(np.prod(p.shape)) * np.dtype(p.dtype).itemsize for p in library.parameters]
        assert sum(sizes) <= engine.memory_bytes["weights"] <= sum(sizes) + 64 * len(sizes)
        assert engine.memory_bytes["workspace"] == library.workspace_bytes
        assert artifact.manifest.model.context_length > engine.context_length == 32


Change = Callable[[Library], dict[str, Any]]

WRONG: dict[str, Change] = {
    "a packing it does not have": lambda library: {
        "parameters": (
            replace(library.parameters[0], transform="pack_nothing"),
            *library.parameters[1:],
        )
    },
    "a batch it does not have": lambda library: {"decode_batches": (1, 3)},
    "a parameter less": lambda library: {"parameters": library.parameters[:-1]},
    "a parameter more": lambda library: {
        "parameters": (*library.parameters, replace(library.parameters[-1], name="more"))
    },
    "parameters in another order": lambda library: {"parameters": library.parameters[::-1]},
    "keys and values of another type": lambda library: {"kv_dtype": "float16"},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_library_that_is_not_what_the_manifest_says_is_refused(
    change: Change, build: Build, tmp_path: Path
) -> None:
    shutil.copytree(build("plain"), tmp_path / "x")
    with Artifact.open(tmp_path / "x") as artifact:
        manifest = artifact.manifest
    library = manifest.libraries[0]
    _publish(tmp_path / "x", replace(manifest, libraries=(replace(library, **change(library)),)))
    with pytest.raises(LibraryMismatchError):
        _run(tmp_path / "x")


def test_the_library_of_another_model_is_refused(build: Build, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.copytree(build("plain"), folder)
    with Artifact.open(build("wide heads")) as other:
        file = other.manifest.libraries[0].file
        shutil.copy(build("wide heads") / file.path, folder / file.path)
    with Artifact.open(folder) as artifact:
        manifest = artifact.manifest
    library = replace(manifest.libraries[0], file=file)
    _publish(folder, replace(manifest, libraries=(library,)))
    with pytest.raises(LibraryMismatchError):
        _run(folder)


def _publish(folder: Path, manifest: Manifest) -> None:
    value = to_json(with_artifact_id(manifest))
    (folder / "manifest.json").write_bytes(dumps_canonical(value))


def _run(folder: Path) -> None:
    with Artifact.open(folder) as artifact:
        engine = engine_module.open_engine(artifact, threads=1)
        engine.score(ids_of(1, 2, 3))
