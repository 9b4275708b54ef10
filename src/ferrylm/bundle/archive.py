"""Writes a tree as a compressed tar file whose bytes depend on the files' bytes alone."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.errors import BundleError, IntegrityError, UsageError
from ferrylm.runtime.progress import Progress, ProgressCallback

SUMS = "SHA256SUMS"

_ZSTD_LEVEL, _GZIP_LEVEL = 12, 6
_WINDOW_LOG = 27  # the largest that zstd opens without being asked; wheels resemble each other
_TIME_S = 315532800  # 1980, the first time that every archive format can hold
_SUFFIXES = (".tar.zst", ".tar.gz")


def check_output(path: Path) -> None:
    """Check the archive's name, before any work. Raises UsageError, BundleError."""
    if not path.name.endswith(_SUFFIXES):
        raise UsageError(
            f"the output {path.name!a}",
            wanted="a name that ends in .tar.zst or .tar.gz",
            fix="name the archive with -o model.tar.zst",
        )
    if path.exists() and not path.is_file():
        raise UsageError(
            f"{path} is no file", wanted="a file that may be replaced", fix="choose another name"
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"no folder {path.absolute().parent}", wanted="a folder for the archive", fix="make it"
        )
    if path.name.endswith(".tar.zst"):
        _zstd_module()


def write_archive(tree: BundleTree, root: str, output: Path, progress: ProgressCallback) -> int:
    """Write all files below the folder `root`, and their SHA256SUMS; return the archive's size.

    `output` appears whole or not at all. Raises IntegrityError if a file has not its known hash.
    """
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            with _compressed(file, output.name) as stream:
                _write_tar(tree, root, stream, progress)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return output.stat().st_size


def _write_tar(tree: BundleTree, root: str, stream: IO[bytes], progress: ProgressCallback) -> None:
    members = list(tree.items())
    total = sum(member.size_bytes for _, member in members)
    done, sums = 0, []
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for path, member in members:
            with _opened(member) as source:
                reader = _HashingReader(source)
                tar.addfile(_entry(f"{root}/{path}", member.size_bytes, member.executable), reader)
            digest = reader.hexdigest()
            if member.sha256 not in (None, digest):
                raise IntegrityError(
                    f"{path} has the SHA-256 {digest[:16]}...",
                    wanted=f"{str(member.sha256)[:16]}...",
                    fix="compile the model again, or fetch the artifact again",
                )
            sums.append(f"{digest}  {path}\n")
            done += member.size_bytes
            progress(Progress("write archive", done, total, "B"))
        data = "".join(sums).encode()
        tar.addfile(_entry(f"{root}/{SUMS}", len(data), False), io.BytesIO(data))


def _entry(path: str, size_bytes: int, executable: bool) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mtime = size_bytes, _TIME_S
    entry.mode = 0o755 if executable else 0o644
    return entry


def _opened(member: Member) -> IO[bytes]:
    source = member.source
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


class _HashingReader(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__()
        self._source = source
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@contextlib.contextmanager
def _compressed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Yield a stream whose bytes arrive compressed in `file`."""
    if name.endswith(".tar.gz"):
        # Neither a name nor a time in the header: they would change the bytes.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
            yield cast(IO[bytes], stream)
        return
    module = _zstd_module()
    if module.__name__ == "compression.zstd":
        kind = module.CompressionParameter
        options = {
            kind.compression_level: _ZSTD_LEVEL,
            kind.window_log: _WINDOW_LOG,
            kind.enable_long_distance_matching: 1,
            kind.checksum_flag: 1,
        }
        with module.ZstdFile(file, "wb", options=options) as stream:
            yield stream
        return
    parameters = module.ZstdCompressionParameters.from_level(
        _ZSTD_LEVEL, window_log=_WINDOW_LOG, enable_ldm=True, write_checksum=True
    )
    compressor = module.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(file, closefd=False) as stream:
        yield stream


def _zstd_module() -> Any:
    """Return Python's own zstd (3.14) or the package zstandard. Raises BundleError."""
    for name in ("compression.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise BundleError(
        "no zstd in this Python",
        wanted="Python 3.14 or the package zstandard",
        fix="run `pip install 'ferrylm[bundle]'`, or name the archive .tar.gz",
    )
