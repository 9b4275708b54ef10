from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import sample_json, tensor_values, write_sample

from ferrylm.compile.artifact_writer import ArtifactWriter
from ferrylm.errors import ArtifactError, FerryError, IntegrityError, LockError
from ferrylm.runtime.artifact import Artifact


def write_file(name: str, data: bytes = b"mine") -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


FOREIGN: dict[str, Callable[[Path], None]] = {
    "a text": write_file("notes.txt"),
    "a hidden file": write_file(".profile"),
    "a model": write_file("model.safetensors"),
    "a manifest of a web page": write_file("manifest.json", b'{"name": "page"}'),
    "a manifest of nothing": write_file("manifest.json", b""),
    "a list as manifest": write_file("manifest.json", b'["ferrylm-artifact"]'),
    "a folder": lambda folder: (folder / "sub").mkdir(),
    "a linked manifest": lambda folder: (folder / "manifest.json").symlink_to("x"),
    "a folder as manifest": lambda folder: (folder / "manifest.json").mkdir(),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ArtifactError, match="is not of an artifact"):
        ArtifactWriter(tmp_path)
    assert sorted(os.listdir(tmp_path)) == before


def test_an_output_that_is_a_file_or_lies_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none/x")):
        with pytest.raises(ArtifactError, match="cannot be opened"):
            ArtifactWriter(output)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_an_empty_folder_and_a_link_to_one_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    manifest = write_sample(tmp_path / "link")
    with Artifact.open(tmp_path / "empty") as artifact:
        assert artifact.manifest == manifest


def test_what_a_killed_first_compile_left_is_taken(tmp_path: Path) -> None:
    path = sample_json()["golden"]["path"]
    for name in (".lock", ".ferry-1.tmp", "manifest.json.tmp", path):
        (tmp_path / name).write_bytes(b"half")
    write_sample(tmp_path)
    assert ".ferry-1.tmp" not in os.listdir(tmp_path)


def test_a_second_writer_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "x") as first:
        for _ in range(3):
            with pytest.raises(LockError, match=f"by process {os.getpid()};"):
                ArtifactWriter(tmp_path / "x")
        first.add_bytes("a", ".bin", b"the refused one took nothing away")
        assert len(os.listdir(tmp_path / "x")) == 2
    write_sample(tmp_path / "x")


def hold_lock_in_child(output: Path) -> int:
    """Fork a child that holds the lock until it is killed."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with ArtifactWriter(output) as writer:
            writer.add_bytes("half", ".bin", b"never committed")
            os.write(tell, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return child


def test_a_lock_is_free_at_once_when_its_holder_is_killed(tmp_path: Path) -> None:
    child = hold_lock_in_child(tmp_path / "x")
    with pytest.raises(LockError, match=f"by process {child};"):
        ArtifactWriter(tmp_path / "x")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    write_sample(tmp_path / "x")
    assert not [name for name in os.listdir(tmp_path / "x") if "half" in name]


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    write_sample(tmp_path / "x")
    (tmp_path / "x" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ArtifactError, match="cannot be opened"):
        ArtifactWriter(tmp_path / "x")
    assert (tmp_path / "precious").read_bytes() == b"mine"


def test_writers_and_readers_at_once_never_see_a_mixture(tmp_path: Path) -> None:
    output = tmp_path / "x"
    ids = {write_sample(tmp_path / f"seed{seed}", seed).artifact_id: seed for seed in range(3)}
    write_sample(output)
    stop = threading.Event()
    outcomes = {"written": 0, "locked": 0, "read": 0}
    problems: list[BaseException] = []

    def write(seed: int) -> None:
        while not stop.is_set():
            try:
                write_sample(output, seed)
                outcomes["written"] += 1
            except LockError:
                outcomes["locked"] += 1
                time.sleep(0.001)
            except BaseException as error:
                problems.append(error)
                return

    def read() -> None:
        while not stop.is_set():
            try:
                with Artifact.open(output) as artifact:
                    wanted = dict(tensor_values(ids[artifact.manifest.artifact_id]))
                    for name, array in artifact.iterate_tensors():
                        np.testing.assert_array_equal(array, wanted[name])
                    outcomes["read"] += 1
            except IntegrityError as error:
                # A newer artifact took the files away; that must be the only trouble.
                if "cannot be opened" not in error.found:
                    problems.append(error)
            except BaseException as error:
                problems.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(2.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert min(outcomes.values()) > 0
    assert isinstance(LockError("", wanted="", fix=""), FerryError)
