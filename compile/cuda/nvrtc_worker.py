"""Compile one CUDA source with NVRTC, as a process of its own.

It is run by path and imports nothing of this package, so that a worker takes no memory for TVM
and a crash of the compiler stays here. Input: a line of JSON, then the source. Output: the code;
messages go to stderr, and the exit status is 1 where the source is at fault.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any


class NvrtcError(Exception):
    """What NVRTC said."""


class Nvrtc:
    """The library; the messages of a failed compile become NvrtcError."""

    def __init__(self, library: str, builtins: str) -> None:
        # NVRTC opens its builtins by name; opened before, they are found wherever they lie.
        self._builtins = ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(library)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def version(self) -> list[int]:
        """Return the major and minor version."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        return [major.value, minor.value]

    def compile(
        self, source: bytes, options: list[str], headers: dict[str, str], *, ptx: bool
    ) -> bytes:
        """Return a cubin, or PTX."""
        program = ctypes.c_void_p()
        texts = _strings(list(headers.values()))
        names = _strings(list(headers))
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program), source, b"kernels.cu", len(headers), texts, names
            )
        )
        status = self._library.nvrtcCompileProgram(program, len(options), _strings(options))
        if status:
            log = self._text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
            raise NvrtcError(log.rstrip(b"\0").decode(errors="replace") or self._message(status))
        what = "PTX" if ptx else "CUBIN"
        return self._text(program, f"nvrtcGet{what}Size", f"nvrtcGet{what}")

    def _text(self, program: Any, size_name: str, text_name: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, size_name)(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(max(size.value, 1))
        self._check(getattr(self._library, text_name)(program, buffer))
        return buffer.raw[: size.value]

    def _check(self, status: int) -> None:
        if status:
            raise NvrtcError(self._message(status))

    def _message(self, status: int) -> str:
        text: bytes = self._library.nvrtcGetErrorString(status)
        return text.decode()


def _strings(texts: list[str]) -> Any:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


def main() -> int:
    """Do the one job of standard input."""
    job = json.loads(sys.stdin.buffer.readline())
    source = sys.stdin.buffer.read()
    try:
        nvrtc = Nvrtc(job["nvrtc"], job["builtins"])
        found = nvrtc.version()
        if found != job["version"]:
            raise NvrtcError(f"NVRTC is {found[0]}.{found[1]}")
        code = nvrtc.compile(source, job["options"], job["headers"], ptx=job["ptx"])
    except (NvrtcError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
