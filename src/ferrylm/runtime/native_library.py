"""A native library of this package: where it lies, its functions, its errors as typed ones."""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ferrylm.errors import FerryError


@dataclass(frozen=True)
class Meaning:
    """What a tag of a message stands for."""

    error: type[FerryError]
    wanted: str
    fix: str


class NativeLibrary:
    """One library and its conventions.

    Its functions are TVM's global functions `ferrylm.KIND.NAME`, and the message of what they
    raise begins with `[KIND:TAG]`.
    """

    def __init__(
        self,
        kind: str,
        *,
        meanings: Mapping[str, Meaning],
        other: Meaning,
        unavailable: type[FerryError],
    ) -> None:
        """Take the tags' meanings, that of an unknown one, and the error of an absent library."""
        self._kind, self._meanings, self._other = kind, meanings, other
        self._unavailable = unavailable
        self._tag = re.compile(rf"\[{kind}:([a-z-]+)\] (.*)", re.DOTALL)

    @property
    def file_name(self) -> str:
        """Return the name of the library's file."""
        return f"libferrylm_{self._kind}.so"

    def path(self) -> Path | None:
        """Return the library of this installation (wheel or editable), or None."""
        folders = [Path(__file__).resolve().parent.parent]
        with suppress(metadata.PackageNotFoundError):
            folders.append(Path(str(metadata.distribution("ferrylm").locate_file("ferrylm"))))
        for folder in folders:
            candidate = folder / "native" / self.file_name
            if candidate.is_file():
                return candidate
        return None

    def open(self, path: Path | None) -> str:
        """Load the library from its path, TVM being loaded; return why that failed, or nothing."""
        if path is None:
            return f"{self.file_name} was not built with this installation of ferrylm"
        try:
            ctypes.CDLL(str(path), ctypes.RTLD_LOCAL)
        except OSError as error:
            return str(error)
        return ""

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function of the library, which is loaded."""
        import tvm_ffi

        found: Callable[..., Any] = tvm_ffi.get_global_func(f"ferrylm.{self._kind}.{name}")
        return found

    def call(self, failure: str, name: str, *arguments: Any) -> Any:
        """Call a function with typed errors; `failure` says why the library is not loaded."""
        if failure:
            raise self._unavailable(
                f"the native library {self.file_name} cannot be used: {failure}",
                wanted="an installation with it",
                fix="install ferrylm again where a C++ compiler is, or use --device cpu",
            )
        with self.typed_errors():
            return self.function(name)(*arguments)

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Raise the typed error of a tagged message; others pass."""
        try:
            yield
        except FerryError:
            raise
        except Exception as error:
            typed = self.error_from_message(str(error))
            if typed is None:
                raise
            raise typed from error

    def error_from_message(self, message: str) -> FerryError | None:
        """Return the typed error that a message stands for, if it is one of this library.

        A message of the form "found; wanted ...; fix" keeps its own words.
        """
        match = self._tag.search(message)
        if match is None:
            return None
        meaning = self._meanings.get(match[1], self._other)
        found, wanted, fix = " ".join(match[2].split()), meaning.wanted, meaning.fix
        if "; wanted " in found:
            found, rest = found.split("; wanted ", 1)
            wanted, _, own_fix = rest.partition("; ")
            fix = own_fix or fix
        return meaning.error(found, wanted=wanted, fix=fix)


def report(text: Any) -> dict[str, Any]:
    """Return the JSON object that a function of a native library answered with."""
    value: dict[str, Any] = json.loads(str(text))
    return value
