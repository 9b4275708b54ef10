"""The files of a bundle before they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ferrylm.errors import BundleError

_GLIBC = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")


@dataclass(frozen=True)
class Member:
    """One file: its content, or where that is."""

    source: Path | bytes
    executable: bool = False
    sha256: str | None = None  # what the content must have, where that is known

    @property
    def size_bytes(self) -> int:
        """Return the size of the content."""
        source = self.source
        return len(source) if isinstance(source, bytes) else source.stat().st_size

    def read(self) -> bytes:
        """Return the whole content."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


class BundleTree:
    """Files by their path in the bundle."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def add(self, path: str, member: Member) -> None:
        """Add a file; the same file may come again. Raises BundleError if it differs."""
        known = self._members.setdefault(path, member)
        if known is not member and known.read() != member.read():
            raise BundleError(
                f"two different files for {path}",
                wanted="wheels of one version that agree in all files but their extension modules",
                fix="bundle for fewer versions of Python with --python",
            )

    def __contains__(self, path: str) -> bool:
        return path in self._members

    def items(self) -> Iterator[tuple[str, Member]]:
        """Yield path and file in the order of the archive."""
        yield from sorted(self._members.items())

    def needed_glibc(self, folder: str, *, without: str) -> tuple[int, int]:
        """Return the newest version of glibc's symbols that libraries below a folder use.

        Those with the text `without` in their path do not count.

        The versions are texts of the ELF string table; a text that merely looks like one could
        only raise the result.
        """
        versions = [(0, 0)]
        for path, member in self._members.items():
            if without in path or not path.startswith(f"{folder}/"):
                continue
            if ".so" in path.rpartition("/")[2]:
                found = _GLIBC.findall(member.read())
                versions.extend((int(major), int(minor)) for major, minor in found)
        return max(versions)
