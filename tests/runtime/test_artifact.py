from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import (
    SPECS,
    change_manifest,
    sample_json,
    tensor_values,
    with_right_id,
    write_sample,
)

from ferrylm.errors import ArtifactError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import manifest_files
from ferrylm.runtime.progress import Progress
from ferrylm.runtime.strict_json import dumps_canonical


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    write_sample(tmp_path / "sample")
    return tmp_path / "sample"


def test_an_artifact_reads_back_what_was_written(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        artifact.verify_all()
        read = list(artifact.iterate_tensors())
        assert [name for name, _ in read] == [spec.name for spec in SPECS]
        for (name, array), (_, wanted) in zip(read, tensor_values(), strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)
            np.testing.assert_array_equal(artifact.read_tensor(name), wanted)
        tokenizer = artifact.manifest.tokenizer
        assert tokenizer is not None
        assert artifact.read_verified(tokenizer.file, 100) == b'{"model": "sample"}'
        assert artifact.path == sample


def test_tensors_stay_when_the_artifact_is_closed_and_gone(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        array = artifact.read_tensor("final_norm")
    shutil.rmtree(sample)
    assert array.flags.owndata or array.base is not None
    array += 1
    np.testing.assert_array_equal(array, dict(tensor_values())["final_norm"] + 1)


def test_a_closed_artifact_leaves_no_descriptor_open(sample: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Artifact.open(sample) as artifact:
            list(artifact.iterate_tensors())
            artifact.verify_all()
        dropped = Artifact.open(sample)
        dropped.read_tensor("final_norm")
        del dropped
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_artifact_keeps_its_folder_when_the_path_becomes_another(sample: Path) -> None:
    with Artifact.open(sample) as artifact:
        sample.rename(sample.with_name("moved"))
        write_sample(sample, seed=1)
        np.testing.assert_array_equal(
            artifact.read_tensor("final_norm"), dict(tensor_values(0))["final_norm"]
        )


def test_verification_reports_every_byte(sample: Path) -> None:
    reports: list[Progress] = []
    with Artifact.open(sample) as artifact:
        artifact.verify_all(reports.append)
        total = sum(entry.size_bytes for entry in manifest_files(artifact.manifest))
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert reports[-1].done == total
    assert {(report.stage, report.total, report.unit) for report in reports} == {
        ("verify", total, "B")
    }


def make_half_written(folder: Path) -> None:
    (folder / "manifest.json").rename(folder / "manifest.json.tmp")


def make_cut(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_bytes(file.read_bytes()[:-100])


def make_other(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"name": "a web page"}')


def make_linked(folder: Path) -> None:
    (folder / "manifest.json").rename(folder / "elsewhere")
    (folder / "manifest.json").symlink_to("elsewhere")


def make_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def make_pipe(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def make_huge(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 1 << 40)


def make_zeros(folder: Path) -> None:
    size = (folder / "manifest.json").stat().st_size
    (folder / "manifest.json").write_bytes(bytes(size))


def make_newer(folder: Path) -> None:
    change_manifest(folder, ("format_version",), 3)


def make_forged(folder: Path) -> None:
    change_manifest(folder, ("model", "num_layers"), -1)


@pytest.mark.parametrize(
    "damage",
    [
        make_half_written,
        make_cut,
        make_other,
        make_linked,
        make_folder,
        make_pipe,
        make_huge,
        make_zeros,
        make_newer,
        make_forged,
    ],
)
def test_a_folder_without_a_good_manifest_is_refused(
    sample: Path, damage: Callable[[Path], None]
) -> None:
    damage(sample)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(sample)
    assert str(sample) in caught.value.found
    assert caught.value.fix


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("absent", "file", "file/below", "a" * 300, "zero\0byte"):
        with pytest.raises(ArtifactError, match="cannot be opened as a folder"):
            Artifact.open(tmp_path / name)


def test_a_tensor_that_is_not_stored_is_refused(sample: Path) -> None:
    with Artifact.open(sample) as artifact, pytest.raises(ArtifactError, match="is not stored"):
        artifact.read_tensor("../\x1b")


def test_random_weights_are_not_read_from_files(tmp_path: Path) -> None:
    value = sample_json()
    value["weights"].update(mode="random", seed=3, files=[])
    for tensor in value["weights"]["tensors"]:
        tensor["file"] = None
    (tmp_path / "manifest.json").write_bytes(dumps_canonical(with_right_id(value)))
    with Artifact.open(tmp_path) as artifact:
        assert list(artifact.iterate_tensors()) == []
        with pytest.raises(ArtifactError, match="is not stored"):
            artifact.read_tensor("final_norm")


def test_threads_may_read_at_once(sample: Path) -> None:
    wanted = dict(tensor_values())
    problems: list[BaseException] = []
    with Artifact.open(sample) as artifact:

        def read_all() -> None:
            try:
                for name in wanted:
                    np.testing.assert_array_equal(artifact.read_tensor(name), wanted[name])
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=read_all) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems
