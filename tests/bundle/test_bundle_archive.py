"""The archive: the same files give the same bytes, and it appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from ferrylm.bundle import archive
from ferrylm.bundle.archive import SUMS, check_output, write_archive
from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.errors import BundleError, IntegrityError, UsageError
from ferrylm.runtime.progress import ignore_progress


def tar_of(path: Path) -> tarfile.TarFile:
    """Open an archive as tar(1) of another machine would."""
    if path.name.endswith(".gz"):
        return tarfile.open(path)
    zstandard = pytest.importorskip("zstandard")
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        return tarfile.open(fileobj=io.BytesIO(reader.read()))


def test_the_same_files_give_the_same_bytes_whenever_and_wherever_they_were_made(
    tmp_path: Path, suffix: str
) -> None:
    written = []
    for time in (10**9, 2 * 10**9):
        file = tmp_path / f"file{time}"
        file.write_bytes(b"content" * 50000)
        file.chmod(0o600 if time == 10**9 else 0o777)
        os.utime(file, (time, time))
        tree = BundleTree()
        tree.add("x", Member(file))
        output = tmp_path / f"{time}{suffix}"
        write_archive(tree, "root", output, ignore_progress)
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_every_file_is_below_the_root_with_its_mode_and_in_the_sums(
    small_tree: BundleTree, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out{suffix}"
    size = write_archive(small_tree, "root", output, ignore_progress)
    assert size == output.stat().st_size
    with tar_of(output) as tar:
        found = {entry.name: (entry.mode, tar.extractfile(entry)) for entry in tar}
        contents = {name: file.read() for name, (_, file) in found.items() if file}
    assert {name: mode for name, (mode, _) in found.items()} == {
        "root/a one": 0o755,
        "root/b/two": 0o644,
        f"root/{SUMS}": 0o644,
    }
    two = hashlib.sha256(b"2" * 70000).hexdigest()
    assert f"{two}  b/two\n" in contents[f"root/{SUMS}"].decode()


def test_coreutils_accepts_the_sums(small_tree: BundleTree, tmp_path: Path) -> None:
    write_archive(small_tree, "root", tmp_path / "out.tar.gz", ignore_progress)
    subprocess.run(["tar", "-xzf", "out.tar.gz"], cwd=tmp_path, check=True)
    subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=tmp_path / "root", check=True)


def test_a_file_with_another_hash_than_the_manifests_leaves_the_old_archive(
    small_tree: BundleTree, tmp_path: Path
) -> None:
    output = tmp_path / "out.tar.gz"
    output.write_bytes(b"old")
    small_tree.add("c", Member(b"changed", sha256="0" * 64))
    with pytest.raises(IntegrityError, match="c has the SHA-256"):
        write_archive(small_tree, "root", output, ignore_progress)
    assert output.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.tar.gz"]


@pytest.mark.parametrize(
    "name", ["model.zip", "model.tar", "nowhere/model.tar.gz", "folder.tar.gz"]
)
def test_an_impossible_output_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.tar.gz").mkdir()
    with pytest.raises(UsageError):
        check_output(tmp_path / name)


def test_without_zstd_the_fix_is_a_package_or_gzip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(archive.importlib, "import_module", nothing)
    with pytest.raises(BundleError, match=r"ferrylm\[bundle\].*tar\.gz"):
        check_output(tmp_path / "model.tar.zst")
    check_output(tmp_path / "model.tar.gz")
