"""A writer is killed, or its disk fails, at every single call: old or new, never a mixture."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from artifact_samples import write_sample
from disk_faults import CHANGING, READING, Call, count_calls, failing, run_and_die, watched

from ferrylm.errors import ArtifactError, DiskSpaceError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import Manifest, manifest_files


@pytest.fixture
def old_and_new(tmp_path: Path) -> tuple[Manifest, Manifest]:
    """Write two artifacts; the folder `old` is copied before each crash."""
    return write_sample(tmp_path / "old", 0), write_sample(tmp_path / "new", 1)


def fresh_copy(tmp_path: Path) -> Path:
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    shutil.copytree(tmp_path / "old", tmp_path / "x")
    return tmp_path / "x"


def whole_artifact(folder: Path) -> Manifest:
    with Artifact.open(folder) as artifact:
        artifact.verify_all()
        return artifact.manifest


def check_clean(folder: Path, manifest: Manifest) -> None:
    named = {entry.path for entry in manifest_files(manifest)}
    assert set(os.listdir(folder)) == {*named, "manifest.json"}


def calls_of_a_write(tmp_path: Path, names: tuple[str, ...]) -> int:
    output = fresh_copy(tmp_path)
    total = count_calls(names, lambda: write_sample(output, 1))
    assert total > 40, "the stand-ins must see the writer's calls"
    return total


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_kill_at_every_call_leaves_the_old_or_the_new_artifact(
    tmp_path: Path, old_and_new: tuple[Manifest, Manifest], moment: str
) -> None:
    old, new = old_and_new
    found = {old.artifact_id: 0, new.artifact_id: 0}
    for at in range(1, calls_of_a_write(tmp_path, CHANGING) + 1):
        output = fresh_copy(tmp_path)
        run_and_die(lambda: write_sample(output, 1), at, moment)  # noqa: B023
        found[whole_artifact(output).artifact_id] += 1
        write_sample(output, 1)
        check_clean(output, new)
        assert whole_artifact(output) == new
    assert min(found.values()) > 0


def test_a_kill_at_every_call_of_a_first_compile_leaves_nothing_or_all(tmp_path: Path) -> None:
    new = write_sample(tmp_path / "new", 1)
    output = tmp_path / "x"
    total = count_calls(CHANGING, lambda: write_sample(output, 1))
    for at in range(1, total + 1):
        shutil.rmtree(output, ignore_errors=True)
        run_and_die(lambda: write_sample(output, 1), at, "before")
        if (output / "manifest.json").exists():
            assert whole_artifact(output) == new
        else:
            with pytest.raises(ArtifactError):
                Artifact.open(output)
        write_sample(output, 1)
        check_clean(output, new)


def test_fifty_kills_at_random_moments_leave_the_old_or_the_new_artifact(
    tmp_path: Path, old_and_new: tuple[Manifest, Manifest]
) -> None:
    ids = {manifest.artifact_id for manifest in old_and_new}
    generator = random.Random(9)
    output = fresh_copy(tmp_path)
    for _ in range(50):
        child = os.fork()
        if child == 0:
            while True:
                for seed in (1, 0):
                    write_sample(output, seed)
        time.sleep(generator.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert whole_artifact(output).artifact_id in ids
    check_clean(output, write_sample(output, 0))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES])
def test_a_failure_at_every_call_is_typed_and_harmless(
    tmp_path: Path, old_and_new: tuple[Manifest, Manifest], code: int
) -> None:
    old, new = old_and_new
    names = CHANGING + READING
    descriptors = set(os.listdir("/proc/self/fd"))
    refused = 0
    for at in range(1, calls_of_a_write(tmp_path, names) + 1):
        output = fresh_copy(tmp_path)
        expected = new
        try:
            with failing(names, at, code):
                write_sample(output, 1)
        except (DiskSpaceError, ArtifactError) as error:
            refused += 1
            expected = new if "is written, but the disk reports" in error.found else old
        assert whole_artifact(output) == expected
        # What failed to be removed may wait; nothing else may be there.
        write_sample(output, 1)
        check_clean(output, new)
    assert refused > 30
    assert set(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so_and_nothing_is_left(
    tmp_path: Path, old_and_new: tuple[Manifest, Manifest], code: int
) -> None:
    old, _ = old_and_new
    for name in ("write", "fsync"):
        output = fresh_copy(tmp_path)
        total = count_calls((name,), lambda: write_sample(output, 1))  # noqa: B023
        for at in range(1, total + 1):
            output = fresh_copy(tmp_path)
            with failing((name,), at, code, forever=True):  # noqa: SIM117
                with pytest.raises((DiskSpaceError, ArtifactError)) as caught:
                    write_sample(output, 1)
            if "is written, but" in caught.value.found:
                continue
            assert isinstance(caught.value, DiskSpaceError)
            assert whole_artifact(output) == old
            check_clean(output, old)


def test_a_disk_that_fails_for_good_leaves_the_old_artifact(
    tmp_path: Path, old_and_new: tuple[Manifest, Manifest]
) -> None:
    old, _ = old_and_new
    refused = 0
    for at in range(1, calls_of_a_write(tmp_path, CHANGING) + 1):
        output = fresh_copy(tmp_path)
        try:
            with failing(CHANGING, at, errno.EIO, forever=True):
                write_sample(output, 1)
        except ArtifactError as error:
            refused += 1
            if "is written, but" not in error.found:
                assert whole_artifact(output) == old
        else:
            whole_artifact(output)
    assert refused > 20


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        try:
            write_sample(tmp_path / "x")
        except DiskSpaceError:
            os._exit(7)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert not (tmp_path / "x").exists()


def test_power_may_fail_at_the_rename_of_the_manifest(tmp_path: Path) -> None:
    """Everything the manifest names is on disk, content and name, before its rename is issued."""
    opened: dict[int, str] = {}  # descriptor -> name
    unsynced: set[str] = set()  # names whose content may be lost
    unsettled: set[str] = set()  # names that the folder may lose
    lost_at_rename: list[set[str]] = []
    synced_after = 0

    def after(number: int, call: Call) -> None:
        nonlocal synced_after
        name, arguments, _ = call
        if name == "open":
            opened[arguments[0]] = os.fspath(arguments[1])
        elif name == "write":
            unsynced.add(opened[arguments[1]])
        elif name == "fsync" and opened[arguments[1]] == str(tmp_path / "x"):
            unsettled.clear()
            synced_after += bool(lost_at_rename)
        elif name == "fsync":
            unsynced.discard(opened[arguments[1]])
        elif name == "rename":
            _, source, target = arguments
            if target == "manifest.json":
                lost_at_rename.append(unsynced | unsettled)
            if source in unsynced:
                unsynced.add(target)
            unsettled.add(target)

    with watched(CHANGING, lambda *_: None, after):
        write_sample(tmp_path / "x")
    assert lost_at_rename == [set()]
    assert synced_after >= 1
